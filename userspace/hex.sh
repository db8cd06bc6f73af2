#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# hex.sh NAME FILE: prints FILE as a C array NAME and its length NAME_len.
set -e
printf '/* generated */\nstatic const unsigned char %s[] = {\n' "$1"
od -An -v -tx1 "$2" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
printf '};\nstatic const unsigned int %s_len = sizeof(%s);\n' "$1" "$1"
