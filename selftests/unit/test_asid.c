// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_asid.c: address space identifiers beside a model of a TLB that forgets nothing by itself, which no emulator has: each of
 * theirs flushes everything at every VMRUN, so that only here can a translation be stale.
 *
 * A tag of the model holds the vCPU that filled it, and the version of that vCPU's page tables.  A guest that enters under a tag
 * which holds anything else, or an older version of its own, would use a stale translation.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "x86/svm/asid.h"

#define CPUS	3
#define VCPUS	40
#define END	16		/* identifiers 1 to 15, as under QEMU */

static struct asid_cpu cpu[CPUS];
static struct asid_vcpu vcpu[VCPUS];
static unsigned int version[VCPUS], all_flushes, one_flushes;
static struct { int owner; unsigned int version; } tlb[CPUS][END];

static void fresh(u32 end)
{
	int i;

	memset(cpu, 0, sizeof(cpu));
	memset(vcpu, 0, sizeof(vcpu));
	memset(version, 0, sizeof(version));
	all_flushes = one_flushes = 0;
	/* Whoever had the CPU before left translations everywhere. */
	for (i = 0; i < CPUS * END; i++)
		tlb[i / END][i % END].owner = VCPUS;
	for (i = 0; i < CPUS; i++)
		asid_cpu_init(&cpu[i], end);
	for (i = 0; i < VCPUS; i++)
		vcpu[i].cpu = -1;
}

/* vCPU @v runs once on CPU @c. */
static void enter(int v, int c, bool by_asid)
{
	u32 what = asid_prepare(&vcpu[v], &cpu[c], c, by_asid), asid = vcpu[v].asid;
	int i;

	/* Check's own assertions write to a pipe each: not in here. */
	if (!asid || asid >= cpu[c].end || !(what == ASID_FLUSH_NOTHING || what == ASID_FLUSH_ALL || (by_asid && what == ASID_FLUSH_ONE)))
		ck_abort_msg("vCPU %d on CPU %d gets %u, flush %u", v, c, asid, what);
	for (i = 0; what == ASID_FLUSH_ALL && i < END; i++)
		tlb[c][i].owner = -1;
	if (what == ASID_FLUSH_ONE)
		tlb[c][asid].owner = -1;
	all_flushes += what == ASID_FLUSH_ALL;
	one_flushes += what == ASID_FLUSH_ONE;
	if (tlb[c][asid].owner != -1 && (tlb[c][asid].owner != v || tlb[c][asid].version != version[v]))
		ck_abort_msg("vCPU %d on CPU %d under %u meets translations of vCPU %d", v, c, asid, tlb[c][asid].owner);
	tlb[c][asid].owner = v;
	tlb[c][asid].version = version[v];
}

static void changed(int v)
{
	version[v]++;
	vcpu[v].flush = true;
}

START_TEST(keeps)
{
	int i;

	fresh(END);
	for (i = 0; i < 1000; i++)
		enter(i % (END - 1), 0, true);
	ck_assert_uint_eq(all_flushes, 1);
	ck_assert_uint_eq(one_flushes, 0);
}
END_TEST

START_TEST(rolls_over)
{
	int i;

	fresh(END);
	for (i = 0; i < 10 * VCPUS; i++)
		enter(i % VCPUS, 0, true);
	ck_assert_uint_eq(all_flushes, (10 * VCPUS + END - 2) / (END - 1));
	fresh(2);		/* a single identifier */
	for (i = 0; i < 100; i++)
		enter(i / 2 % 3, 0, false);
	ck_assert_uint_eq(all_flushes, 50);
}
END_TEST

START_TEST(flushes)
{
	int i;

	fresh(END);
	for (i = 0; i < 100; i++) {
		changed(0);
		enter(0, 0, true);
	}
	ck_assert_uint_eq(all_flushes, 1);
	ck_assert_uint_eq(one_flushes, 99);
	fresh(END);
	for (i = 0; i < 100; i++) {
		changed(0);
		enter(0, 0, false);
	}
	ck_assert_uint_eq(all_flushes, (100 + END - 2) / (END - 1));
}
END_TEST

/* There and back: what changed while the vCPU was elsewhere is not used when it returns. */
START_TEST(moves)
{
	int i;

	fresh(END);
	for (i = 0; i < 200; i++) {
		enter(0, i & 1, true);
		changed(0);
		enter(0, i & 1, true);
		enter(1, i & 1, true);
	}
}
END_TEST

/* A CPU that went down and comes back. */
START_TEST(returns)
{
	int i;

	fresh(END);
	for (i = 0; i < 5; i++)
		enter(i, 0, true);
	for (i = 0; i < END; i++)
		tlb[0][i].owner = VCPUS;
	asid_cpu_init(&cpu[0], END);
	for (i = 4; i >= 0; i--)
		enter(i, 0, true);
}
END_TEST

START_TEST(anything)
{
	int i;

	srand(1);
	for (i = 0; i < 100000; i++) {
		int v = rand() % VCPUS;

		if (i % 10000 == 0)
			fresh(2 + rand() % (END - 1));
		if (rand() % 4 == 0)
			changed(v);
		enter(v, rand() % CPUS, i / 10000 & 1);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("asid");
	TCase *t = tcase_create("asid");
	SRunner *r;
	int failed;

	tcase_add_test(t, keeps);
	tcase_add_test(t, rolls_over);
	tcase_add_test(t, flushes);
	tcase_add_test(t, moves);
	tcase_add_test(t, returns);
	tcase_add_test(t, anything);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
