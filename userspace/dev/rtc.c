// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MC146818: a clock that the guest may read and set, and 114 bytes of memory.
 *
 * Time is the host's UTC plus the offset that the guest has made by setting the clock. Registers
 * are computed when read, so there is no tick and never an update in progress. Of the interrupts
 * the alarm is provided, by a timer on the main loop; periodic and update interrupts are not
 * (Linux emulates both with the alarm).
 */
#include "dev/rtc.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define RTC_PORT 0x70
#define RTC_PIN 8
#define REG_A 0x0a
#define REG_B 0x0b
#define REG_C 0x0c
#define REG_D 0x0d
#define REG_CENTURY 0x32
#define B_24H 0x02
#define B_BINARY 0x04
#define B_AIE 0x20
#define B_SET 0x80
#define C_AF 0x20
#define C_IRQF 0x80
#define D_VALID 0x80
#define ALARM_ANY 0xc0

struct rtc {
	struct board *board;
	pthread_mutex_t lock;
	u8 index;		/* lock, as all below */
	u8 ram[128];
	s64 offset;		/* seconds that the guest's clock is ahead */
	struct tm frozen;	/* while B_SET */
	struct loop_timer alarm;
	bool armed;
};

static u8 to_bcd(unsigned int v)
{
	return v / 10 << 4 | v % 10;
}

static u8 encode(const struct rtc *rtc, unsigned int v)
{
	return rtc->ram[REG_B] & B_BINARY ? v : to_bcd(v);
}

static unsigned int decode(const struct rtc *rtc, u8 v)
{
	return rtc->ram[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static u8 encode_hour(const struct rtc *rtc, unsigned int hour)
{
	if (rtc->ram[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned int decode_hour(const struct rtc *rtc, u8 v)
{
	if (rtc->ram[REG_B] & B_24H)
		return decode(rtc, v);
	return decode(rtc, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

static void now(const struct rtc *rtc, struct tm *tm)
{
	time_t t = time(NULL) + rtc->offset;

	if (rtc->ram[REG_B] & B_SET)
		*tm = rtc->frozen;
	else
		gmtime_r(&t, tm);
}

static u8 read_reg(struct rtc *rtc, u8 reg)
{
	struct tm tm;
	u8 v;

	now(rtc, &tm);
	switch (reg) {
	case 0:
		return encode(rtc, tm.tm_sec);
	case 2:
		return encode(rtc, tm.tm_min);
	case 4:
		return encode_hour(rtc, tm.tm_hour);
	case 6:
		return encode(rtc, tm.tm_wday + 1);
	case 7:
		return encode(rtc, tm.tm_mday);
	case 8:
		return encode(rtc, tm.tm_mon + 1);
	case 9:
		return encode(rtc, tm.tm_year % 100);
	case REG_CENTURY:
		return encode(rtc, (tm.tm_year + 1900) / 100);
	case REG_C:
		v = rtc->ram[REG_C];
		rtc->ram[REG_C] = 0;
		if (v & C_IRQF)
			irq_set_pin(rtc->board->irq, RTC_PIN, false);
		return v;
	case REG_D:
		return D_VALID;
	default:
		return rtc->ram[reg];
	}
}

static void set_time_reg(struct rtc *rtc, u8 reg, u8 v)
{
	struct tm tm;

	now(rtc, &tm);
	switch (reg) {
	case 0:
		tm.tm_sec = decode(rtc, v) % 60;
		break;
	case 2:
		tm.tm_min = decode(rtc, v) % 60;
		break;
	case 4:
		tm.tm_hour = decode_hour(rtc, v) % 24;
		break;
	case 7:
		tm.tm_mday = decode(rtc, v);
		break;
	case 8:
		tm.tm_mon = (int)decode(rtc, v) - 1;
		break;
	case 9:
		tm.tm_year = tm.tm_year / 100 * 100 + decode(rtc, v) % 100;
		break;
	case REG_CENTURY:
		tm.tm_year = (int)decode(rtc, v) * 100 - 1900 + tm.tm_year % 100;
		break;
	}
	if (rtc->ram[REG_B] & B_SET)
		rtc->frozen = tm;
	else
		rtc->offset = timegm(&tm) - time(NULL);
}

static bool matches(const struct rtc *rtc, u8 alarm, unsigned int v, bool hour)
{
	if ((alarm & ALARM_ANY) == ALARM_ANY)
		return true;
	return (hour ? decode_hour(rtc, alarm) : decode(rtc, alarm)) == v;
}

/* Seconds until the alarm, at most a day. */
static unsigned int until_alarm(const struct rtc *rtc)
{
	struct tm tm;
	unsigned int s, at;

	now(rtc, &tm);
	at = tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec;
	for (s = 1; s <= 86400; s++) {
		at = (at + 1) % 86400;
		if (matches(rtc, rtc->ram[1], at % 60, false) &&
		    matches(rtc, rtc->ram[3], at / 60 % 60, false) &&
		    matches(rtc, rtc->ram[5], at / 3600, true))
			break;
	}
	return s;
}

static void rearm(struct rtc *rtc)
{
	bool want = rtc->ram[REG_B] & B_AIE && !(rtc->ram[REG_B] & B_SET);

	if (!want && !rtc->armed)
		return;
	rtc->armed = want;
	loop_timer_arm(&rtc->alarm, want ? until_alarm(rtc) * 1000000000ULL : 0, 0);
}

static void alarm_fired(void *ctx)
{
	struct rtc *rtc = ctx;

	pthread_mutex_lock(&rtc->lock);
	if (rtc->ram[REG_B] & B_AIE) {
		rtc->ram[REG_C] |= C_AF | C_IRQF;
		irq_set_pin(rtc->board->irq, RTC_PIN, true);
		rearm(rtc);
	}
	pthread_mutex_unlock(&rtc->lock);
}

static void write_b(struct rtc *rtc, u8 v)
{
	struct tm tm;

	now(rtc, &tm);
	if (v & B_SET && !(rtc->ram[REG_B] & B_SET))
		rtc->frozen = tm;
	if (!(v & B_SET) && rtc->ram[REG_B] & B_SET)
		rtc->offset = timegm(&tm) - time(NULL);
	rtc->ram[REG_B] = v;
	rearm(rtc);
}

static void write_reg(struct rtc *rtc, u8 reg, u8 v)
{
	switch (reg) {
	case 0:
	case 2:
	case 4:
	case 7:
	case 8:
	case 9:
	case REG_CENTURY:
		set_time_reg(rtc, reg, v);
		break;
	case 1:
	case 3:
	case 5:
		rtc->ram[reg] = v;
		rearm(rtc);
		break;
	case 6:
	case REG_C:
	case REG_D:
		break;
	case REG_A:
		rtc->ram[REG_A] = v & 0x7f;
		break;
	case REG_B:
		write_b(rtc, v);
		break;
	default:
		rtc->ram[reg] = v;
	}
}

static void rtc_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct rtc *rtc = ctx;

	memset(data, 0xff, len);
	pthread_mutex_lock(&rtc->lock);
	*(u8 *)data = off ? read_reg(rtc, rtc->index) : 0xff;
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct rtc *rtc = ctx;
	u8 v = *(const u8 *)data;

	(void)len;
	pthread_mutex_lock(&rtc->lock);
	if (off)
		write_reg(rtc, rtc->index, v);
	else
		rtc->index = v & 0x7f;
	pthread_mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_ops = { rtc_read, rtc_write };

struct rtc *rtc_create(struct board *board, struct err *e)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int r;

	if (!rtc) {
		err_set(e, ENOMEM, "no memory for the clock");
		return NULL;
	}
	pthread_mutex_init(&rtc->lock, NULL);
	rtc->board = board;
	tzset();	/* reads files, which a confined thread may not */
	rtc->ram[REG_A] = 0x26;
	rtc->ram[REG_B] = B_24H;
	r = loop_timer_init(board->loop, &rtc->alarm, alarm_fired, rtc);
	if (!r)
		r = bus_add(board->pio, RTC_PORT, 2, &rtc_ops, rtc);
	if (r) {
		err_set(e, -r, "cannot place the clock: %s", strerror(-r));
		rtc_destroy(rtc);
		return NULL;
	}
	return rtc;
}

void rtc_destroy(struct rtc *rtc)
{
	if (!rtc)
		return;
	bus_remove(rtc->board->pio, RTC_PORT);
	loop_timer_fini(rtc->board->loop, &rtc->alarm);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

void rtc_reset(struct rtc *rtc)
{
	pthread_mutex_lock(&rtc->lock);
	rtc->index = 0;
	rtc->ram[REG_B] &= ~(B_AIE | B_SET);
	rtc->ram[REG_C] = 0;
	rearm(rtc);
	pthread_mutex_unlock(&rtc->lock);
}
