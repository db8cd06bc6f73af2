// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_virtio_netspec.c: the parser of network specifications. A text is refused with a message, or gives values in range.
 *
 * LINK: userspace/net/spec.c userspace/common/err.c
 */
#include <stdlib.h>
#include <string.h>

#include "net/spec.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	char *text = malloc(size + 1);
	struct err e = ERR_INIT;
	struct net_spec s;

	memcpy(text, data, size);
	text[size] = 0;
	if (net_spec_parse(text, &s, &e) < 0) {
		if (!e.msg[0] || !e.code)
			abort();
	} else if (s.kind > NET_TAP || s.forwards > NET_FORWARDS_MAX || s.queues > NET_QUEUES_MAX || s.prefix < 8 ||
		   s.prefix > 27 || !memchr(s.ifname, 0, IFNAMSIZ) || !memchr(s.bridge, 0, IFNAMSIZ) ||
		   (s.has_mac && (s.mac[0] & 1)) || (s.mtu && s.mtu < 68)) {
		abort();
	}
	for (unsigned int i = 0; i < s.forwards; i++)
		if (!s.forward[i].host_port || !s.forward[i].guest_port)
			abort();
	free(text);
	return 0;
}
