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
VERSION	:= $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
HOST	?= box
CLIENT	?=
LOADS	?=
TIME	?=
NODE	?= lodge

install-packages := selftests/qemu/install-packages

.PHONY: all module userspace check check-vmx check-clients check-debug check-kcsan check-vhd-cuts unit fuzz lint perf demo
.PHONY: module-cloud packages-bochs packages packages-check packages-demo packages-debug packages-clients clean help
.PHONY: install install-files install-dkms uninstall
.PHONY: check-kvm-selftests packages-kvm-selftests check-qemu-patches

all: module userspace

help:
	@echo 'make               the module (build/lodge.ko) and the command (build/lodge)'
	@echo 'make demo          a Debian guest from a VHD disk, in a host in an emulator'
	@echo 'make check         every test; results also in build/check.json'
	@echo '                   SUITE="unit vm" for some, HOST=local on this machine itself, without the box,'
	@echo '                   LOADS=1000 to load and unload the module so often'
	@echo 'make check-debug   the tests of the box, on lodge.ko, under a kernel with KASAN, lockdep, kmemleak'
	@echo 'make check-kcsan   the fuzzers of the host, TIME=10m each, under a kernel with KCSAN'
	@echo 'make fuzz          every fuzzer of what needs no hypervisor, for some seconds; with TIME=30m the'
	@echo '                   fuzzers of the host, so long each, under the kernel of check-debug'
	@echo 'make check-clients other people'"'"'s programs on lodge.ko, a table of what each did;'
	@echo '                   CLIENT="qemu/*boot*" for some, NODE=kvm for the stock module'
	@echo 'make check-vmx     the tests on Intel VT-x, under Bochs; MODEL= for another of its CPUs'
	@echo 'make check-vhd-cuts   power cuts under VHD images, all of them'
	@echo 'make check-kvm-selftests    the KVM selftests of linux-source-6.1, on Lodge and on stock KVM'
	@echo 'make check-qemu-patches   do the patches for QEMU fit, build and work?'
	@echo 'make perf          compare with the stock KVM module; SUITE=exit for one'
	@echo 'make lint | unit   these parts of the check alone'
	@echo 'make module [KDIR=headers]  make userspace'
	@echo 'make install [DESTDIR= PREFIX=/usr/local]   command, module, udev rule'
	@echo 'make install-dkms           the same with DKMS to build the module'
	@echo 'make uninstall [DESTDIR= PREFIX=]'
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
packages-kvm-selftests: packages
	@$(install-packages) box kvm-selftests
packages-debug: packages-check
	@$(install-packages) debug

# Kbuild's own output, without the notes that are no news to anybody.
module: packages
	@kdir="$(KDIR)"; kdir=$${kdir:-$$(ls -d /usr/src/linux-headers-6.1.0-*-amd64 2>/dev/null | \
		grep -Ev 'cloud|rt-amd64' | sort -V | tail -n 1)}; \
	test -n "$$kdir" || { echo 'module: no kernel headers in /usr/src' >&2; exit 1; }; \
	selftests/qemu/build-module "$$kdir" "$(MODTREE)" "$(MODOUT)" $(JOBS) W=1

# The same for the cloud kernel, which the box boots under Bochs.
module-cloud: packages-bochs
	@kdir=$$(ls -d /usr/src/linux-headers-6.1.0-*-cloud-amd64 2>/dev/null | sort -V | tail -n 1); \
	test -n "$$kdir" || { echo 'module-cloud: no cloud kernel headers in /usr/src' >&2; exit 1; }; \
	selftests/qemu/build-module "$$kdir" $(BUILD)/module-cloud $(BUILD)/lodge-cloud.ko $(JOBS)

userspace: packages
	@$(MAKE) -j$(JOBS) -f userspace/Makefile

check: packages-check
	@selftests/run --host $(HOST) $(if $(LOADS),--env LOADS=$(LOADS)) $(SUITE)

check-debug: packages-debug
	@selftests/qemu/debug-kernel
	@selftests/run --debug --node lodge --json $(BUILD)/check-debug.json $(SUITE)

check-kcsan: packages-debug
	@selftests/qemu/debug-kernel kcsan
	@selftests/run --kcsan --node lodge --json $(BUILD)/check-kcsan.json --fuzz-time $(or $(TIME),10m) $(or $(SUITE),'host/fuzz_*')

MODEL	?= corei7_skylake_x
check-vmx: packages-check packages-bochs
	@selftests/run --bochs $(MODEL) --node lodge --json $(BUILD)/check-vmx.json $(or $(SUITE),svm vm); rc=$$?; \
	[ -n "$(SUITE)" ] || selftests/run --json $(BUILD)/check-vmx-models.json vmx || rc=1; exit $$rc

# One pattern with blanks in it, or none.
check-clients: packages-clients all module-cloud
	@selftests/clients/run --node $(NODE) $(if $(CLIENT),'$(CLIENT)')

check-kvm-selftests: packages-kvm-selftests module
	@selftests/kvm-selftests/build
	@selftests/kvm-selftests/run

check-qemu-patches: packages
	@qemu-patches/check.sh

lint: packages-check
	@LINT=all selftests/run lint
unit: packages-check
	@selftests/run unit

# Every workload of up to three operations on VHD images, cut everywhere; it prints the count.
check-vhd-cuts: packages-check userspace
	@selftests/run --json $(BUILD)/check-vhd-cuts.json unit/vhd_cuts
	@CK_VERBOSITY=minimal LODGE_CUTS=all $(BUILD)/selftests/unit/vhd_cuts
ifeq ($(TIME),)
fuzz: packages-check
	@selftests/run fuzz
else
fuzz: packages-debug
	@selftests/qemu/debug-kernel
	@selftests/run --debug --node lodge --json $(BUILD)/fuzz.json --fuzz-time $(TIME) 'host/fuzz_*'
endif

perf: packages-demo all module-cloud
	@selftests/perf/run $(SUITE)

demo: packages-demo all
	@selftests/qemu/demo

NBDKIT_DIR = $(shell pkg-config --variable=plugindir nbdkit 2>/dev/null || echo /usr/lib/nbdkit/plugins)

# What goes onto a host.  DESTDIR= makes a package's tree and touches nothing else:
# depmod and dkms are then for whoever installs the package.
install: all install-files
	@set -e; kver=$$(modinfo -F vermagic $(MODOUT) | cut -d' ' -f1); \
	install -D -m 644 $(MODOUT) $(DESTDIR)/lib/modules/$$kver/updates/lodge.ko; \
	echo "install: lodge.ko for Linux $$kver"; \
	if [ -z "$(DESTDIR)" ]; then \
		depmod $$kver; \
		[ "$$(uname -r)" = $$kver ] || echo "install: this host runs $$(uname -r), another kernel: see KDIR= in README.md, or 'make install-dkms'"; \
	fi

# The same with the module's sources for DKMS, which builds it for every kernel that it supports.
install-dkms: userspace install-files
	@set -e; src=$(DESTDIR)/usr/src/lodge-$(VERSION); rm -rf $$src; mkdir -p $$src; \
	cp -r Kbuild LICENSE dkms.conf include kmod $$src/; \
	echo "install: sources in $$src"; \
	if [ -z "$(DESTDIR)" ]; then \
		! dkms status lodge/$(VERSION) | grep -q . || dkms remove lodge/$(VERSION) --all; \
		dkms add lodge/$(VERSION); \
		for dir in /lib/modules/*/build/; do \
			[ -d "$$dir" ] || continue; \
			kver=$${dir#/lib/modules/}; kver=$${kver%/build/}; \
			dkms install lodge/$(VERSION) -k $$kver || \
				{ rc=$$?; [ $$rc = 77 ] || exit $$rc; echo "install: not for Linux $$kver"; }; \
		done; \
		dkms status lodge/$(VERSION); \
	fi

install-files:
	@set -e; \
	install -D -m 755 $(BUILD)/lodge $(DESTDIR)$(PREFIX)/bin/lodge; \
	for f in userspace/doc/*.[1-8]; do \
		install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/}; \
	done; \
	if [ -e $(BUILD)/nbdkit-vhd-plugin.so ]; then \
		install -D -m 644 $(BUILD)/nbdkit-vhd-plugin.so $(DESTDIR)$(NBDKIT_DIR)/nbdkit-vhd-plugin.so; \
	fi; \
	install -D -m 644 kmod/host/lodge-kvm-node.conf $(DESTDIR)$(PREFIX)/share/doc/lodge/lodge-kvm-node.conf; \
	install -D -m 644 kmod/host/60-lodge.rules $(DESTDIR)/lib/udev/rules.d/60-lodge.rules; \
	install -D -m 644 kmod/host/lodge.conf $(DESTDIR)/usr/lib/modules-load.d/lodge.conf; \
	if [ -z "$(DESTDIR)" ] && [ -S /run/udev/control ]; then udevadm control --reload; fi

uninstall:
	@set -e; \
	if [ -z "$(DESTDIR)" ] && [ -d /sys/module/lodge ]; then \
		echo 'uninstall: lodge is loaded and stays so until rmmod or reboot'; \
	fi; \
	if [ -z "$(DESTDIR)" ] && command -v dkms >/dev/null && dkms status lodge/$(VERSION) | grep -q .; then \
		dkms remove lodge/$(VERSION) --all; \
	fi; \
	rm -rf $(DESTDIR)/usr/src/lodge-$(VERSION); \
	for f in $(DESTDIR)/lib/modules/*/updates/lodge.ko; do \
		[ -e "$$f" ] || continue; \
		rm -f "$$f"; \
		kver=$${f%/updates/lodge.ko}; \
		if [ -z "$(DESTDIR)" ]; then depmod $${kver##*/}; fi; \
	done; \
	rm -f $(DESTDIR)$(PREFIX)/bin/lodge $(DESTDIR)/lib/udev/rules.d/60-lodge.rules \
		$(DESTDIR)/usr/lib/modules-load.d/lodge.conf $(DESTDIR)$(NBDKIT_DIR)/nbdkit-vhd-plugin.so; \
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/lodge; \
	for f in userspace/doc/*.[1-8]; do \
		rm -f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/}; \
	done

clean:
	rm -rf $(BUILD)
