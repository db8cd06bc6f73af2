// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bodies of the trace points that core/trace.h declares.
 */
#define CREATE_TRACE_POINTS
#include "core/trace.h"
