// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio
/*
 * The map of changes against random operations: what differs from the last
 * backup is in it, whenever its writer is killed; and it is trusted only if
 * the writer ended well.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vhd/image.h"
#include "vhd/track.h"

#define DISK	(20u << 20)
#define BITS	(DISK / VHD_TRACK_GRANULE)

static char dir[] = "/var/tmp/lodge-track-XXXXXX";
static char disk[64], map[64];
static const uint8_t id[16] = { 1, 2, 3, 4 }, null[16];

static void make(void)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	struct vhd_error err;

	snprintf(disk, sizeof(disk), "%s/d.vhd", dir);
	snprintf(map, sizeof(map), "%s/d.vhd.cbt", dir);
	unlink(disk);
	unlink(map);
	ck_assert(!vhd_create(disk, &p, &err));
	ck_assert_msg(!vhd_changes_put(disk, DISK, NULL, id, &err), "%s", err.text);
}

static bool known(uint8_t *bits)
{
	uint8_t backup[16];
	unsigned int i;

	ck_assert_int_eq(vhd_changes(disk, DISK, bits, backup), 0);
	if (!memcmp(backup, id, 16))
		return true;
	ck_assert_mem_eq(backup, null, 16);
	for (i = 0; i < BITS; i++)
		ck_assert(bits[i >> 3] & 0x80u >> (i & 7));
	return false;
}

/* What @n random operations touch is set in @touched. @die: in the middle of it, without an end. */
static void work(unsigned int seed, unsigned int n, uint8_t *touched, bool die)
{
	uint8_t *buf = malloc(1 << 20);
	struct vhd_queue *q;
	struct vhd_error err;
	struct vhd *v;

	srand(seed);
	ck_assert_msg(!vhd_open(disk, 0, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 8);
	while (n--) {
		uint64_t length = (1 + rand() % 512) * 512ull, at = rand() % ((DISK - length) / 512) * 512ull, i;
		int op = rand() % 4, ret;

		memset(buf, n + 1, length);
		ret = op == 0 ? vhd_discard(q, at, length) : op == 1 ? vhd_write_zeroes(q, at, length, VHD_F_UNMAP) :
							     vhd_pwrite(q, buf, length, at);
		ck_assert_int_eq(ret, 0);
		for (i = at / VHD_TRACK_GRANULE; i <= (at + length - 1) / VHD_TRACK_GRANULE; i++)
			touched[i >> 3] |= 0x80u >> (i & 7);
	}
	if (die)
		_exit(0);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(v), 0);
	free(buf);
}

START_TEST(what_is_touched_is_in_the_map)
{
	uint8_t touched[BITS / 8 + 1] = { 0 }, bits[BITS / 8 + 1];
	unsigned int i;

	make();
	for (i = 0; i < 20; i++) {
		work(i + 1, 3, touched, false);
		ck_assert(known(bits));
		ck_assert_mem_eq(bits, touched, BITS / 8);
	}
}
END_TEST

START_TEST(a_killed_writer_leaves_everything_changed)
{
	uint8_t touched[BITS / 8 + 1] = { 0 }, bits[BITS / 8 + 1];
	int status, i;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		make();
		ck_assert(known(bits));
		pid = fork();
		if (!pid)
			work(i + 1, i, touched, true);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert(!known(bits));
		/* A proper end after that knows no better. */
		work(9, 1, touched, false);
		ck_assert(!known(bits));
	}
}
END_TEST

START_TEST(opening_to_read_leaves_the_map_alone)
{
	uint8_t bits[BITS / 8 + 1];
	struct stat before, after;
	struct vhd_error err;
	struct vhd *v;

	make();
	ck_assert(!stat(map, &before));
	ck_assert(!vhd_open(disk, VHD_O_RDONLY, &v, &err));
	ck_assert(known(bits));
	vhd_close(v);
	ck_assert(!stat(map, &after));
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	ck_assert(!vhd_open(disk, 0, &v, &err));
	ck_assert(!known(bits));
	ck_assert_int_eq(vhd_close(v), 0);
	ck_assert(known(bits));
}
END_TEST

/* Each byte of a map wrong in turn: it is not trusted, or it is only a byte that means nothing. */
START_TEST(a_damaged_map_is_not_trusted)
{
	uint8_t bits[BITS / 8 + 1], clean[BITS / 8 + 1], byte, wrong;
	struct stat st;
	FILE *f;
	long i;

	make();
	memset(clean, 0, sizeof(clean));
	ck_assert(!stat(map, &st));
	for (i = 0; i < st.st_size; i++) {
		f = fopen(map, "r+b");
		fseek(f, i, SEEK_SET);
		ck_assert_uint_eq(fread(&byte, 1, 1, f), 1);
		wrong = byte ^ 0x11;
		fseek(f, i, SEEK_SET);
		fwrite(&wrong, 1, 1, f);
		fclose(f);
		if (i >= 24 && i < 40) {
			uint8_t backup[16];

			/* The backup's id: it is another's then. */
			ck_assert_int_eq(vhd_changes(disk, DISK, bits, backup), 0);
			ck_assert_int_ne(memcmp(backup, id, 16), 0);
		} else if (known(bits)) {
			ck_assert_mem_eq(bits, clean, BITS / 8);
			ck_assert_int_ge(i, 72);
			ck_assert_int_lt(i, 512);
		}
		f = fopen(map, "r+b");
		fseek(f, i, SEEK_SET);
		fwrite(&byte, 1, 1, f);
		fclose(f);
	}
	ck_assert(known(bits));
	ck_assert(!truncate(map, st.st_size - 1));
	ck_assert(!known(bits));
	ck_assert(!truncate(map, 0));
	ck_assert(!known(bits));
}
END_TEST

START_TEST(the_map_follows_a_live_snapshot)
{
	uint8_t bits[BITS / 8 + 1], buf[512] = { 7 };
	struct vhd_params p = { .type = VHD_DIFF, .parent_live = true };
	char snapshot[64], fresh[64];
	struct vhd *v, *child;
	struct vhd_queue *q;
	struct vhd_branch b = { .disk = disk, .snapshot = snapshot, .q = &q, .n = 1 };
	struct vhd_error err;

	make();
	snprintf(snapshot, sizeof(snapshot), "%s/s.vhd", dir);
	snprintf(fresh, sizeof(fresh), "%s/fresh.vhd", dir);
	unlink(snapshot);
	ck_assert(!vhd_open(disk, 0, &v, &err));
	q = vhd_queue_create(v, 8);
	ck_assert_int_eq(vhd_pwrite(q, buf, 512, 0), 0);
	ck_assert(!link(disk, snapshot));
	p.parent = snapshot;
	ck_assert_msg(!vhd_create(fresh, &p, &err), "%s", err.text);
	ck_assert_msg(!vhd_open(fresh, VHD_O_OWN, &child, &err), "%s", err.text);
	b.v = v;
	b.child = child;
	ck_assert_msg(!vhd_branch_prepare(&b, 1, &err) && !vhd_branch_switch(&b, 1, &err) && !vhd_branch_finish(&b, 1, &err), "%s",
		      err.text);
	ck_assert_int_eq(vhd_pwrite(q, buf, 512, 5 * VHD_TRACK_GRANULE), 0);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(child), 0);
	ck_assert(known(bits));
	ck_assert_uint_eq(bits[0], 0x84);
	ck_assert_uint_eq(bits[1], 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_track");
	TCase *t = tcase_create("track");
	SRunner *r = srunner_create(s);
	char command[100];
	int failed;

	if (!mkdtemp(dir))
		return 1;
	tcase_set_timeout(t, 120);
	tcase_add_test(t, what_is_touched_is_in_the_map);
	tcase_add_test(t, a_killed_writer_leaves_everything_changed);
	tcase_add_test(t, opening_to_read_leaves_the_map_alone);
	tcase_add_test(t, a_damaged_map_is_not_trusted);
	tcase_add_test(t, the_map_follows_a_live_snapshot);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) || failed ? 1 : 0;
}
