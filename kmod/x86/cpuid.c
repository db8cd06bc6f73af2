// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUID as one vCPU sees it.
 *
 * The VMM's table is kept sorted by leaf; three small arrays, one for each range of leaves (basic, paravirtual, extended),
 * give a leaf's first entry at once.  What depends on the vCPU's state (OSXSAVE, OSPKE, APIC, sizes of the XSAVE area) is
 * written into the entries when that state changes, so that a query only reads.
 */
#include "core/ioctl.h"
#include "x86/cpuid.h"

#include <linux/kvm_para.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>

#include "x86/irqchip/up.h"
#include "x86/msr.h"
#include "x86/vcpu.h"

#define CPUID_MAX_ENTRIES	256
#define CPUID_MAP		64	/* leaves of a range that have a slot */

struct vcpu_cpuid {
	u32 word[CPUW_WORDS];
	u8 maxphyaddr;
	bool amd, enforce_pv;
	unsigned int n;
	struct kvm_cpuid_entry2 *e;			/* sorted by function, stable */
	struct kvm_cpuid_entry2 *leaf1, *leaf7, *leafd0, *leafd1, *leafpv;
	struct kvm_cpuid_entry2 *map[3][CPUID_MAP];	/* first entry of a leaf */
};

void cpuid_destroy_vcpu(struct x86_vcpu *vcpu)
{
	if (vcpu->cpuid)
		kvfree(vcpu->cpuid->e);
	kfree(vcpu->cpuid);
	vcpu->cpuid = NULL;
}

/* ---- look-up ---- */

/* Range of @leaf: 0 basic, 1 paravirtual, 2 extended, -1 none. */
static int cpuid_range(u32 leaf)
{
	if ((leaf & 0x3fffffff) >= CPUID_MAP || leaf >> 30 == 3)
		return -1;
	return leaf >> 30;
}

static struct kvm_cpuid_entry2 *cpuid_find(const struct vcpu_cpuid *c, u32 leaf, u32 index)
{
	struct kvm_cpuid_entry2 *e, *end = c->e + c->n;
	int range = cpuid_range(leaf);

	if (likely(range >= 0)) {
		e = c->map[range][leaf & (CPUID_MAP - 1)];
		if (!e)
			return NULL;
	} else {
		for (e = c->e; e < end && e->function != leaf; e++)
			;
	}
	for (; e < end && e->function == leaf; e++)
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index)
			return e;
	return NULL;
}

/* No entry: AMD's processors answer zeros; others answer for the highest basic leaf when asked beyond the last. */
static const struct kvm_cpuid_entry2 *cpuid_find_beyond(const struct vcpu_cpuid *c, u32 leaf, u32 index)
{
	const struct kvm_cpuid_entry2 *max = cpuid_find(c, leaf & 0xc0000000, 0);
	const struct kvm_cpuid_entry2 *basic = c->map[0][0];

	if (c->amd || !basic || (max && leaf <= max->eax))
		return NULL;
	return cpuid_find(c, basic->eax, index);
}

void cpuid_query(struct x86_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	const struct vcpu_cpuid *c = vcpu->cpuid;
	const struct kvm_cpuid_entry2 *e = NULL;
	u32 leaf = *eax, index = *ecx;

	if (likely(c && c->n)) {
		e = cpuid_find(c, leaf, index);
		if (unlikely(!e))
			e = cpuid_find_beyond(c, leaf, index);
	}
	if (likely(e)) {
		*eax = e->eax;
		*ebx = e->ebx;
		*ecx = e->ecx;
		*edx = e->edx;
		return;
	}
	*eax = *ebx = *ecx = *edx = 0;
	/* Topology leaves answer any index: the index itself, and the x2APIC id (SDM 2A, CPUID leaf 0BH). */
	if ((leaf == 0xb || leaf == 0x1f) && c && c->n) {
		e = cpuid_find(c, leaf, 1);
		if (e) {
			*ecx = index & 0xff;
			*edx = e->edx;
		}
	}
}

bool cpuid_has(struct x86_vcpu *vcpu, enum cpuid_word w, int bit)
{
	return vcpu->cpuid && (vcpu->cpuid->word[w] & (1u << bit));
}

bool cpuid_given(struct x86_vcpu *vcpu)
{
	return vcpu->cpuid && vcpu->cpuid->n;
}

u8 cpuid_maxphyaddr(struct x86_vcpu *vcpu)
{
	return vcpu->cpuid ? vcpu->cpuid->maxphyaddr : 36;
}

bool cpuid_is_amd(struct x86_vcpu *vcpu)
{
	return vcpu->cpuid && vcpu->cpuid->amd;
}

bool cpuid_pv_allowed(struct x86_vcpu *vcpu, int bit)
{
	return !vcpu->cpuid || !vcpu->cpuid->enforce_pv || cpuid_has(vcpu, CPUW_KVM_EAX, bit);
}

void cpuid_enforce_pv(struct x86_vcpu *vcpu, bool on)
{
	if (vcpu->cpuid)
		vcpu->cpuid->enforce_pv = on;
}

bool vcpu_has_x2apic(struct lodge_vcpu *vcpu)
{
	return cpuid_has(to_x86(vcpu), CPUW_1_ECX, 21);
}

bool vcpu_has_tsc_deadline(struct lodge_vcpu *vcpu)
{
	return cpuid_has(to_x86(vcpu), CPUW_1_ECX, 24);
}

u8 vcpu_maxphyaddr(struct lodge_vcpu *vcpu)
{
	return cpuid_maxphyaddr(to_x86(vcpu));
}

void vcpu_apic_base_changed(struct lodge_vcpu *vcpu)
{
	cpuid_update_runtime(to_x86(vcpu));
}

/* ---- what follows from the table ---- */

static void cpuid_set_bit(u32 *word, int bit, bool on)
{
	*word = on ? *word | 1u << bit : *word & ~(1u << bit);
}

void cpuid_update_runtime(struct x86_vcpu *vcpu)
{
	struct vcpu_cpuid *c = vcpu->cpuid;
	u64 base = vcpu->lapic ? vcpu->lapic->base : vcpu->apic_base_user;

	if (!c || !c->n)
		return;
	if (c->leaf1) {
		if (c->leaf1->ecx & (1u << 26))
			cpuid_set_bit(&c->leaf1->ecx, 27, vcpu->cr4 & (1u << 18));
		cpuid_set_bit(&c->leaf1->edx, 9, base & (1u << 11));
		if (!vm_has_quirk(x86_vcpu_vm(vcpu), KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT))
			cpuid_set_bit(&c->leaf1->ecx, 3, vcpu->msrs->misc_enable & MSR_IA32_MISC_ENABLE_MWAIT);
		c->word[CPUW_1_ECX] = c->leaf1->ecx;
		c->word[CPUW_1_EDX] = c->leaf1->edx;
	}
	if (c->leaf7) {
		cpuid_set_bit(&c->leaf7->ecx, 4, (c->leaf7->ecx & (1u << 3)) && (vcpu->cr4 & (1u << 22)));
		c->word[CPUW_7_ECX] = c->leaf7->ecx;
	}
	if (c->leafd0)
		c->leafd0->ebx = cpuid_xsave_size(vcpu->xcr0, false);
	if (c->leafd1 && (c->leafd1->eax & ((1u << 1) | (1u << 3))))
		c->leafd1->ebx = cpuid_xsave_size(vcpu->xcr0 | vcpu->ia32_xss, true);
}

/* CR4 bits, each with the feature that brings it: SDM 3A §2.5, APM 2 §3.1.3. */
static u64 cpuid_cr4_bits(const u32 *word)
{
	static const struct { u8 cr4_bit, word, bit; } rows[] = {
		{ 2, CPUW_1_EDX, 4 },		/* TSD */
		{ 3, CPUW_1_EDX, 2 },		/* DE */
		{ 4, CPUW_1_EDX, 3 },		/* PSE */
		{ 5, CPUW_1_EDX, 6 },		/* PAE */
		{ 6, CPUW_1_EDX, 7 },		/* MCE */
		{ 7, CPUW_1_EDX, 13 },		/* PGE */
		{ 9, CPUW_1_EDX, 24 },		/* OSFXSR */
		{ 10, CPUW_1_EDX, 25 },		/* OSXMMEXCPT */
		{ 11, CPUW_7_ECX, 2 },		/* UMIP */
		{ 12, CPUW_7_ECX, 16 },		/* LA57 */
		{ 16, CPUW_7_EBX, 0 },		/* FSGSBASE */
		{ 17, CPUW_1_ECX, 17 },		/* PCIDE */
		{ 18, CPUW_1_ECX, 26 },		/* OSXSAVE */
		{ 20, CPUW_7_EBX, 7 },		/* SMEP */
		{ 21, CPUW_7_EBX, 20 },		/* SMAP */
		{ 22, CPUW_7_ECX, 3 },		/* PKE */
	};
	const struct cpuid_host *h = cpuid_host();
	/* PCE; VME and PVI, which every processor that virtualizes has, also where an emulator does not say so */
	u64 bits = 1u << 8 | 1u << 0 | 1u << 1;
	unsigned int i;

	/* The guest sees a bit only if it was told of the feature; the host must have it, for the hardware checks it too. */
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if ((word[rows[i].word] & (1u << rows[i].bit)) && (h->word[rows[i].word] & (1u << rows[i].bit)))
			bits |= 1ull << rows[i].cr4_bit;
	return bits;
}

int cpuid_init_vcpu(struct x86_vcpu *vcpu)
{
	struct vcpu_cpuid *c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);

	if (!c)
		return -ENOMEM;
	vcpu->cpuid = c;
	c->maxphyaddr = 36;
	/* Until the VMM says more: what the host has. */
	vcpu->cr4_guest_bits = cpuid_cr4_bits(cpuid_host()->word);
	vcpu->guest_xcr0_mask = 0;
	return 0;
}

static u32 cpuid_word_of(const struct vcpu_cpuid *c, u32 leaf, u32 index, int reg)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(c, leaf, index);

	return !e ? 0 : reg == 0 ? e->eax : reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
}

static void cpuid_derive_words(struct vcpu_cpuid *c)
{
	const struct kvm_cpuid_entry2 *e;
	u32 base;

	c->word[CPUW_1_ECX] = cpuid_word_of(c, 1, 0, 2);
	c->word[CPUW_1_EDX] = cpuid_word_of(c, 1, 0, 3);
	c->word[CPUW_7_EBX] = cpuid_word_of(c, 7, 0, 1);
	c->word[CPUW_7_ECX] = cpuid_word_of(c, 7, 0, 2);
	c->word[CPUW_7_EDX] = cpuid_word_of(c, 7, 0, 3);
	c->word[CPUW_D_1_EAX] = cpuid_word_of(c, 0xd, 1, 0);
	c->word[CPUW_80000001_ECX] = cpuid_word_of(c, 0x80000001, 0, 2);
	c->word[CPUW_80000001_EDX] = cpuid_word_of(c, 0x80000001, 0, 3);
	c->word[CPUW_80000007_EDX] = cpuid_word_of(c, 0x80000007, 0, 3);
	c->word[CPUW_80000008_EBX] = cpuid_word_of(c, 0x80000008, 0, 1);
	c->word[CPUW_KVM_EAX] = c->word[CPUW_KVM_EDX] = 0;
	c->leafpv = NULL;
	/* The paravirtual leaves may sit above another hypervisor's, at the next multiple of 0x100. */
	for (base = KVM_CPUID_SIGNATURE; base < KVM_CPUID_SIGNATURE + 0x10000; base += 0x100) {
		u32 sig[3];

		e = cpuid_find(c, base, 0);
		if (!e)
			continue;
		sig[0] = e->ebx;
		sig[1] = e->ecx;
		sig[2] = e->edx;
		if (memcmp(sig, KVM_SIGNATURE, sizeof(sig)))
			continue;
		c->word[CPUW_KVM_EAX] = cpuid_word_of(c, base + 1, 0, 0);
		c->word[CPUW_KVM_EDX] = cpuid_word_of(c, base + 1, 0, 3);
		c->leafpv = cpuid_find(c, base + 1, 0);
		break;
	}
}

/* A halt that does not exit cannot be ended by a kick: KVM_FEATURE_PV_UNHALT goes. */
static void cpuid_hide_unhalt(struct vcpu_cpuid *c)
{
	if (c->leafpv)
		cpuid_set_bit(&c->leafpv->eax, KVM_FEATURE_PV_UNHALT, false);
	cpuid_set_bit(&c->word[CPUW_KVM_EAX], KVM_FEATURE_PV_UNHALT, false);
}

static bool cpuid_vendor_is(const struct kvm_cpuid_entry2 *e, const char *name)
{
	u32 v[3] = { e->ebx, e->edx, e->ecx };

	return !memcmp(v, name, sizeof(v));
}

static void cpuid_derive(struct x86_vcpu *vcpu)
{
	struct vcpu_cpuid *c = vcpu->cpuid;
	const struct cpuid_host *h = cpuid_host();
	const struct kvm_cpuid_entry2 *e;
	unsigned int i;

	memset(c->map, 0, sizeof(c->map));
	for (i = c->n; i-- > 0; ) {
		int range = cpuid_range(c->e[i].function);

		if (range >= 0)
			c->map[range][c->e[i].function & (CPUID_MAP - 1)] = &c->e[i];
	}
	cpuid_derive_words(c);
	if (x86_vcpu_vm(vcpu)->disabled_exits & KVM_X86_DISABLE_EXITS_HLT)
		cpuid_hide_unhalt(c);
	e = cpuid_find(c, 0, 0);
	c->amd = e && (cpuid_vendor_is(e, "AuthenticAMD") || cpuid_vendor_is(e, "HygonGenuine"));
	c->leaf1 = cpuid_find(c, 1, 0);
	c->leaf7 = cpuid_find(c, 7, 0);
	c->leafd0 = cpuid_find(c, 0xd, 0);
	c->leafd1 = cpuid_find(c, 0xd, 1);
	e = cpuid_find(c, 0x80000008, 0);
	c->maxphyaddr = e && (e->eax & 0xff) ? min(e->eax & 0xff, 52u) : 36;
	vcpu->guest_xcr0_mask = 0;
	if (c->leafd0 && cpuid_has(vcpu, CPUW_1_ECX, 26))
		vcpu->guest_xcr0_mask = (c->leafd0->eax | (u64)c->leafd0->edx << 32) & h->xcr0;
	vcpu->cr4_guest_bits = cpuid_cr4_bits(c->word);
	cpuid_update_runtime(vcpu);
	if (x86_ops->cpuid_changed)
		x86_ops->cpuid_changed(vcpu);
}

/* ---- ioctls ---- */

static int cpuid_cmp(const void *a, const void *b)
{
	const struct kvm_cpuid_entry2 *x = a, *y = b;

	if (x->function != y->function)
		return x->function < y->function ? -1 : 1;
	/* padding[0] holds the place in the VMM's table meanwhile: of two entries for the same, the first one counts */
	return x->padding[0] < y->padding[0] ? -1 : x->padding[0] > y->padding[0];
}

static int cpuid_check(const struct kvm_cpuid_entry2 *e, unsigned int n)
{
	unsigned int i, bits;

	for (i = 0; i < n; i++) {
		if (e[i].function != 0x80000008)
			continue;
		bits = (e[i].eax >> 8) & 0xff;
		if (bits != 0 && bits != 48 && bits != 57)
			return -EINVAL;
	}
	return 0;
}

/* Is the new table, sorted, the one that the vCPU has?  Run-time bits do not count. */
static bool cpuid_same(const struct vcpu_cpuid *c, const struct kvm_cpuid_entry2 *e, unsigned int n)
{
	const u32 runtime_ecx = 1u << 27 | 1u << 3;
	unsigned int i;

	if (n != c->n)
		return false;
	for (i = 0; i < n; i++) {
		struct kvm_cpuid_entry2 a = c->e[i], b = e[i];

		if (a.function == 1) {
			a.ecx = (a.ecx & ~runtime_ecx) | (b.ecx & runtime_ecx);
			a.edx = (a.edx & ~(1u << 9)) | (b.edx & (1u << 9));
		} else if (a.function == 7 && a.index == 0) {
			a.ecx = (a.ecx & ~(1u << 4)) | (b.ecx & (1u << 4));
		} else if (a.function == 0xd && a.index <= 1) {
			a.ebx = b.ebx;
		}
		if (a.function != b.function || a.index != b.index || a.flags != b.flags || a.eax != b.eax ||
		    a.ebx != b.ebx || a.ecx != b.ecx || a.edx != b.edx)
			return false;
	}
	return true;
}

/* Takes @e over. */
static long cpuid_set(struct x86_vcpu *vcpu, struct kvm_cpuid_entry2 *e, unsigned int n)
{
	struct vcpu_cpuid *c = vcpu->cpuid;
	unsigned int i;
	long r = c ? cpuid_check(e, n) : -ENOMEM;

	if (r)
		goto out;
	for (i = 0; i < n; i++)
		e[i].padding[0] = i;
	sort(e, n, sizeof(*e), cpuid_cmp, NULL);
	for (i = 0; i < n; i++)
		e[i].padding[0] = 0;
	/* A processor does not change under a guest that has run on it; setting the same again is fine. */
	if (rcu_access_pointer(vcpu->core.pid)) {
		r = cpuid_same(c, e, n) ? 0 : -EINVAL;
		goto out;
	}
	swap(c->e, e);
	c->n = n;
	cpuid_derive(vcpu);
out:
	kvfree(e);
	return r;
}

long cpuid_ioctl_set2(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_cpuid2 __user *u = (void __user *)arg;
	struct kvm_cpuid_entry2 *e = NULL;
	struct kvm_cpuid2 head;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	if (head.nent > CPUID_MAX_ENTRIES)
		return -E2BIG;
	if (head.nent) {
		e = lodge_ioctl_dup(u->entries, array_size(sizeof(*e), head.nent));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	return cpuid_set(vcpu, e, head.nent);
}

long cpuid_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_cpuid __user *u = (void __user *)arg;
	struct kvm_cpuid_entry2 *e = NULL;
	struct kvm_cpuid_entry *old = NULL;
	struct kvm_cpuid head;
	unsigned int i;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	if (head.nent > CPUID_MAX_ENTRIES)
		return -E2BIG;
	if (head.nent) {
		old = lodge_ioctl_dup(u->entries, array_size(sizeof(*old), head.nent));
		if (IS_ERR(old))
			return PTR_ERR(old);
		e = kvcalloc(head.nent, sizeof(*e), GFP_KERNEL_ACCOUNT);
		if (!e) {
			kvfree(old);
			return -ENOMEM;
		}
	}
	for (i = 0; i < head.nent; i++) {
		e[i].function = old[i].function;
		e[i].eax = old[i].eax;
		e[i].ebx = old[i].ebx;
		e[i].ecx = old[i].ecx;
		e[i].edx = old[i].edx;
	}
	kvfree(old);
	return cpuid_set(vcpu, e, head.nent);
}

long cpuid_ioctl_get2(void *obj, void *arg)
{
	struct vcpu_cpuid *c = to_x86(obj)->cpuid;
	struct kvm_cpuid2 __user *u = (void __user *)arg;
	struct kvm_cpuid2 head;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	if (!c)
		return -ENOMEM;
	if (head.nent < c->n)
		return -E2BIG;
	head.nent = c->n;
	if (copy_to_user(u, &head, sizeof(head)) || copy_to_user(u->entries, c->e, c->n * sizeof(*c->e)))
		return -EFAULT;
	return 0;
}

long cpuid_ioctl_get_supported(void *obj, void *arg)
{
	struct kvm_cpuid2 __user *u = (void __user *)arg;
	struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid2 head;
	long r;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	if (head.nent < 1)
		return -E2BIG;
	head.nent = min_t(u32, head.nent, CPUID_MAX_ENTRIES);
	e = kvcalloc(head.nent, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	r = cpuid_host_table(e, head.nent);
	if (r >= 0) {
		head.nent = r;
		r = 0;
		if (copy_to_user(u, &head, sizeof(head)) ||
		    copy_to_user(u->entries, e, head.nent * sizeof(*e)))
			r = -EFAULT;
	}
	kvfree(e);
	return r;
}

/* Features that the processor lacks and instructions would be emulated for: none. */
long cpuid_ioctl_get_emulated(void *obj, void *arg)
{
	struct kvm_cpuid2 __user *u = (void __user *)arg;
	struct kvm_cpuid2 head;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	head.nent = 0;
	return copy_to_user(u, &head, sizeof(head)) ? -EFAULT : 0;
}
