# SPDX-License-Identifier: GPL-2.0-or-later
#
# Everything starts here: 'make help' lists what there is.  Output goes to
# build/ and nowhere else; the module is built in a copy of its sources there,
# because Kbuild leaves its objects beside them.

SHELL	:= /bin/bash
BUILD	:= build
JOBS	?= $(shell nproc)

# The newest headers of Debian's standard kernel: the box boots that kernel's
# newest image.  KDIR= builds for another one, e.g. /lib/modules/$(uname -r)/build.
KDIR	?= $(shell ls -d /usr/src/linux-headers-6.1.0-*-amd64 2>/dev/null | \
		grep -Ev 'cloud|rt-amd64' | sort -V | tail -n 1)
MODTREE	?= $(BUILD)/module
MODOUT	?= $(BUILD)/lodge.ko
PREFIX	?= /usr/local
DESTDIR	?=
SUITE	?=
HOST	?= box
CLIENT	?=
NODE	?= lodge

install-packages := selftests/qemu/install-packages

.PHONY: all module userspace check check-clients check-debug check-vhd-cuts unit fuzz lint perf demo
.PHONY: module-cloud packages-bochs packages packages-check packages-demo packages-debug packages-clients install clean help

all: module userspace

help:
	@echo 'make               the module (build/lodge.ko) and the command (build/lodge)'
	@echo 'make demo          a Debian guest from a VHD disk, in a host in an emulator'
	@echo 'make check         every test; results also in build/check.json'
	@echo '                   SUITE="unit vm" for some, HOST=local on real hardware'
	@echo 'make check-debug   the same under a kernel with KASAN, lockdep, kmemleak'
	@echo 'make check-clients other people'"'"'s programs on lodge.ko, a table of what each did;'
	@echo '                   CLIENT="qemu/*boot*" for some, NODE=kvm for the stock module'
	@echo 'make check-vhd-cuts   power cuts under VHD images, all of them'
	@echo 'make perf          compare with the stock KVM module; SUITE=exit for one'
	@echo 'make lint | unit | fuzz     these parts of the check alone'
	@echo 'make module [KDIR=headers]  make userspace'
	@echo 'make install [DESTDIR= PREFIX=/usr/local]'
	@echo 'make clean'

packages:
	@$(install-packages) build
packages-check: packages
	@$(install-packages) box check
packages-demo: packages
	@$(install-packages) box demo
packages-bochs: packages
	@$(install-packages) box bochs
packages-clients: packages-check
	@$(install-packages) clients
packages-debug: packages-check
	@$(install-packages) debug

# Kbuild's own output, without the notes that are no news to anybody.
module: packages
	@kdir="$(KDIR)"; kdir=$${kdir:-$$(ls -d /usr/src/linux-headers-6.1.0-*-amd64 2>/dev/null | \
		grep -Ev 'cloud|rt-amd64' | sort -V | tail -n 1)}; \
	test -n "$$kdir" || { echo 'module: no kernel headers in /usr/src' >&2; exit 1; }; \
	selftests/qemu/build-module "$$kdir" "$(MODTREE)" "$(MODOUT)" $(JOBS)

# The same for the cloud kernel, which the box boots under Bochs.
module-cloud: packages-bochs
	@kdir=$$(ls -d /usr/src/linux-headers-6.1.0-*-cloud-amd64 2>/dev/null | sort -V | tail -n 1); \
	test -n "$$kdir" || { echo 'module-cloud: no cloud kernel headers in /usr/src' >&2; exit 1; }; \
	selftests/qemu/build-module "$$kdir" $(BUILD)/module-cloud $(BUILD)/lodge-cloud.ko $(JOBS)

userspace: packages
	@$(MAKE) -j$(JOBS) -f userspace/Makefile

check: packages-check
	@selftests/run --host $(HOST) $(SUITE)

check-debug: packages-debug
	@selftests/qemu/debug-kernel
	@selftests/run --debug $(SUITE)

# One pattern with blanks in it, or none.
check-clients: packages-clients all module-cloud
	@selftests/clients/run --node $(NODE) $(if $(CLIENT),'$(CLIENT)')

lint: packages-check
	@selftests/run lint
unit: packages-check
	@selftests/run unit

# Every workload of up to three operations on VHD images, cut everywhere; it prints the count.
check-vhd-cuts: packages-check userspace
	@selftests/run --json $(BUILD)/check-vhd-cuts.json unit/vhd_cuts
	@CK_VERBOSITY=minimal LODGE_CUTS=all $(BUILD)/selftests/unit/vhd_cuts
fuzz: packages-check
	@selftests/run fuzz

perf: packages-demo all module-cloud
	@selftests/perf/run $(SUITE)

demo: packages-demo all
	@selftests/qemu/demo

install: all
	install -D -m 755 $(BUILD)/lodge $(DESTDIR)$(PREFIX)/bin/lodge
	set -e; kver=$$(modinfo -F vermagic $(MODOUT) | cut -d' ' -f1); \
	install -D -m 644 $(MODOUT) $(DESTDIR)/lib/modules/$$kver/updates/lodge.ko; \
	if [ -z "$(DESTDIR)" ]; then depmod $$kver; fi
	install -D -m 644 kmod/60-lodge.rules $(DESTDIR)/lib/udev/rules.d/60-lodge.rules
	set -e; if [ -e $(BUILD)/nbdkit-vhd-plugin.so ]; then \
		install -D -m 644 $(BUILD)/nbdkit-vhd-plugin.so \
			"$(DESTDIR)$$(pkg-config --variable=plugindir nbdkit)/nbdkit-vhd-plugin.so"; \
	fi
	set -e; for f in userspace/doc/*.[1-8]; do \
		if [ -e "$$f" ]; then \
			install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/}; \
		fi; \
	done

clean:
	rm -rf $(BUILD)
