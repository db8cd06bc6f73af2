#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# hostile.sh - what a guest or its VMM can make the module do, it can do a
# million times: memory is charged to their control group, and the kernel's log
# stays as it is.
#
# What is allocated or said once, as the module or a CPU comes, is in a list.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

# Each line is FILE TEXT; an exception that is not there any more is a complaint too.
known()
{
	while read -r file text; do
		[ -n "$file" ] || continue
		if ! grep -qF -- "$text" "$file"; then
			echo "$file: the exception '$text' is not there"
		fi
		grep -nF -- "$text" "$file" | sed "s|^|$file:|" >>"$tmp/known"
	done
	sort -u -o "$tmp/known" "$tmp/known"
}

# found PATTERN HARMLESS: what of PATTERN is neither HARMLESS nor known.
found()
{
	files kmod | grep -E '\.[ch]$' | xargs grep -nE -- "$1" | grep -vE -- "$2" | sort -u | comm -23 - "$tmp/known"
}

: >"$tmp/known"
known >"$tmp/bad" <<'LIST'
kmod/core/vcpu.c zalloc_cpumask_var_node(&per_cpu(kick_mask, cpu), GFP_KERNEL,
kmod/mem/share.c xa_store(&f->overlay, index, new, GFP_NOWAIT);
kmod/x86/svm/svm.c c->hsave = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL |
kmod/x86/svm/svm.c c->host_save = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL |
kmod/x86/svm/svm.c c->urn = kzalloc_node(sizeof(*c->urn), GFP_KERNEL,
kmod/x86/svm/svm.c svm_iopm = alloc_pages(GFP_KERNEL, IOPM_ORDER);
kmod/x86/vmx/life.c vpid_map = bitmap_zalloc(VPIDS, GFP_KERNEL);
kmod/x86/vmx/vmx.c c->region = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL |
LIST
found '\bGFP_[A-Z]+|\b(v?memdup_user|memdup_user_nul|strndup_user|vmalloc|vzalloc|kstrdup)\(' 'GFP_KERNEL_ACCOUNT' >>"$tmp/bad"
result "every allocation for a VM is charged" "$tmp/bad"

: >"$tmp/known"
known >"$tmp/bad" <<'LIST'
kmod/main.c pr_err("lodge: minor=%d is not in
kmod/core/dev.c pr_err("lodge: another driver has the device number
kmod/core/kvm_node.c pr_err("lodge: kvm_node=1, but
kmod/core/usage.c pr_warn("lodge: CPU %u cannot be taken for guests
kmod/core/usage.c pr_err("lodge: virtualization is not there after resume
kmod/x86/svm/svm.c pr_err("lodge: %s\n", missing);
kmod/x86/vmx/caps.c pr_err("lodge: this CPU's
kmod/x86/vmx/caps.c pr_err("lodge: %s\n", missing);
kmod/x86/vmx/caps.c pr_warn("lodge: the microcode cannot flush
kmod/x86/vmx/vmx.c pr_err("lodge: " OTHER " cannot be loaded beside
kmod/x86/vmx/vmx.c pr_err("lodge: " OTHER " is loaded
LIST
found '\b(pr_[a-z_]+|printk[a-z_]*|WARN[A-Z_]*|dev_(emerg|alert|crit|err|warn|notice|info)[a-z_]*|dump_stack|BUG(_ON)?)\(' \
	'\b(pr_debug|pr_[a-z]+_(ratelimited|once)|printk_(ratelimited|once)|WARN(_ON)?_ONCE|dev_[a-z]+_(ratelimited|once))\(' >>"$tmp/bad"
result "nothing is said twice that a guest can cause twice" "$tmp/bad"
finish
