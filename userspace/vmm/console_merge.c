// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Early console and late console, each line once.
 *
 * A guest has its console on a serial port first, because that needs no driver to speak of, and
 * on a virtio device later. When Linux registers the second console it replays the whole kernel
 * log there, and from then on sends every message to both. What programs write goes to the one
 * that /dev/console was when they opened it, and only there. So kernel messages come twice and
 * program output once, and neither device may simply be silenced.
 *
 * A kernel message begins with its time, "[    1.234567] ", which hardly ever repeats itself. Of
 * the early console's messages we keep a hash each, in order. The late console's first messages
 * are looked up there, and what is found is a replay and is dropped; the replay is over when the
 * record is used up, or when too many messages were not in it, and the late console is passed on
 * untouched from there. Messages of the early console are dropped once the late one has been seen
 * to have messages too; Linux writes each to the late one first. That ends when the late console is
 * gone: Linux takes its device away before it says that it powers off. All other lines are shown as
 * they come. A kernel without times (printk.time=0) shows its messages twice.
 *
 * A line is held back only while it may still be dropped: from its first byte, which must be "[",
 * to the byte that shows that it has no time, or to its end. A prompt is thus never delayed, but
 * for the one that looks like the beginning of a time.
 */
#include "vmm/console_merge.h"

#include <string.h>

enum { LINE_START, LINE_TIME, LINE_MESSAGE, LINE_PLAIN };

void merge_init(struct console_merge *m)
{
	memset(m, 0, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
}

void merge_fini(struct console_merge *m)
{
	pthread_mutex_destroy(&m->lock);
}

void merge_reset(struct console_merge *m)
{
	pthread_mutex_lock(&m->lock);
	m->line[MERGE_EARLY].len = m->line[MERGE_LATE].len = 0;
	m->line[MERGE_EARLY].state = m->line[MERGE_LATE].state = LINE_START;
	m->recorded = m->replayed = m->stray = 0;
	m->late_has_messages = m->replay_over = false;
	pthread_mutex_unlock(&m->lock);
}

/* FNV-1a; carriage returns do not count, for the two drivers put them differently. */
static u64 hash(const u8 *p, u32 len)
{
	u64 h = 0xcbf29ce484222325ULL;
	u32 i;

	for (i = 0; i < len; i++)
		if (p[i] != '\r' && p[i] != '\n')
			h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

static bool is_digit(u8 c)
{
	return c >= '0' && c <= '9';
}

/*
 * Whether the line so far is a message's time, may become one, or is none: "[", blanks, seconds,
 * ".", six digits, "]".
 */
static u32 look_at_time(const struct merge_line *l)
{
	const u8 *p = l->buf;
	u32 i = 1, dot;

	if (p[0] != '[')
		return LINE_PLAIN;
	while (i < l->len && p[i] == ' ')
		i++;
	while (i < l->len && is_digit(p[i]))
		i++;
	if (i == l->len)
		return i < 24 ? LINE_TIME : LINE_PLAIN;
	if (p[i] != '.' || !is_digit(p[i - 1]))
		return LINE_PLAIN;
	for (dot = i++; i < l->len && is_digit(p[i]); i++)
		;
	if (i == l->len)
		return i - dot <= 7 ? LINE_TIME : LINE_PLAIN;
	return p[i] == ']' && i - dot == 7 ? LINE_MESSAGE : LINE_PLAIN;
}

static void record(struct console_merge *m, u64 h)
{
	if (m->recorded < MERGE_RECORD)
		m->record[m->recorded++] = h;
}

static bool was_shown(struct console_merge *m, u64 h)
{
	u32 i;

	for (i = m->replayed; i < m->recorded; i++) {
		if (m->record[i] != h)
			continue;
		m->replayed = i + 1;
		m->stray = 0;
		return true;
	}
	m->replay_over = ++m->stray >= MERGE_STRAY;
	return false;
}

void merge_late_gone(struct console_merge *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->late_has_messages) {
		m->late_has_messages = m->replay_over = false;
		m->replayed = m->stray = 0;
	}
	pthread_mutex_unlock(&m->lock);
}

/* A whole message has been collected: is it to be shown? */
static bool is_news(struct console_merge *m, enum merge_side side, const struct merge_line *l)
{
	u64 h = hash(l->buf, l->len);

	if (side == MERGE_LATE)
		return !was_shown(m, h);
	if (m->late_has_messages)
		return false;
	record(m, h);
	return true;
}

static bool in_replay(const struct console_merge *m)
{
	return !m->replay_over && m->replayed < m->recorded;
}

/* The early console is in the middle of a line that was shown so far: it is shown to its end. */
static void late_has_message(struct console_merge *m)
{
	struct merge_line *l = &m->line[MERGE_EARLY];

	if (m->late_has_messages)
		return;
	m->late_has_messages = true;
	if (l->len)
		l->state = LINE_PLAIN;
	l->len = 0;
}

/* Gives up on a line as a message: what was held back of it is shown. */
static size_t give_up(struct merge_line *l, u8 *out)
{
	size_t n = l->hold ? l->len : 0;

	memcpy(out, l->buf, n);
	l->len = 0;
	l->state = LINE_PLAIN;
	return n;
}

/*
 * A byte of a line that may be a message. Lines are collected on both sides, but held back only
 * where they may be dropped; else they are shown as they come, and collected to be recorded.
 */
static size_t collect(struct console_merge *m, enum merge_side side, u8 c, u8 *out)
{
	struct merge_line *l = &m->line[side];
	size_t n = 0;

	if (!l->len)
		l->hold = side == MERGE_LATE ? in_replay(m) : m->late_has_messages;
	if (l->len == MERGE_LINE) {
		n = give_up(l, out);
		out[n++] = c;
		return n;
	}
	l->buf[l->len++] = c;
	if (!l->hold)
		out[n++] = c;
	if (l->state == LINE_MESSAGE)
		return n;
	l->state = look_at_time(l);
	if (l->state == LINE_MESSAGE && side == MERGE_LATE)
		late_has_message(m);
	return l->state == LINE_PLAIN ? n + give_up(l, out + n) : n;
}

static size_t feed_byte(struct console_merge *m, enum merge_side side, u8 c, u8 *out)
{
	struct merge_line *l = &m->line[side];
	size_t n = 0;

	/* A carriage return before a line's first byte is no part of it. */
	if (l->state == LINE_PLAIN || (!l->len && c == '\r'))
		out[n++] = c;
	else
		n = collect(m, side, c, out);
	if (c != '\n')
		return n;
	if (l->state == LINE_MESSAGE && is_news(m, side, l))
		n += give_up(l, out + n);
	l->len = 0;
	l->state = LINE_START;
	return n;
}

size_t merge_feed(struct console_merge *m, enum merge_side side, const void *data, size_t len, void *out)
{
	const u8 *p = data;
	size_t n = 0, i;

	pthread_mutex_lock(&m->lock);
	for (i = 0; i < len; i++) {
		if (side == MERGE_LATE && m->late_has_messages && !in_replay(m) && !m->line[side].len) {
			memcpy((u8 *)out + n, p + i, len - i);
			n += len - i;
			break;
		}
		n += feed_byte(m, side, p[i], (u8 *)out + n);
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}
