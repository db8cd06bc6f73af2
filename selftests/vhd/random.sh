#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A random life of a family of images, killed at random moments; TAP.
# BOX: none
# usage: random.sh "LODGE IMG COMMAND" PLUGIN (default: those in build/)
exec "$(dirname "$0")/random-life" "$@"
