/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock with its battery-backed memory (MC146818) at ports 0x70 and 0x71.
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include "board/board.h"

struct rtc;

struct rtc *rtc_create(struct board *board, struct err *e);
void rtc_destroy(struct rtc *rtc);
/* The index latch and alarm go; the clock and the memory stay, as the battery would have it. */
void rtc_reset(struct rtc *rtc);

#endif
