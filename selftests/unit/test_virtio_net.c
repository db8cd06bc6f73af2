// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_virtio_net.c: the network card as a guest's driver sees it, over a back end that echoes, and over the user network,
 * from which a guest must get an address.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
 * LINK: userspace/virtio/virtio_pci.c userspace/virtio/iothread.c userspace/virtio/virtio_net.c
 * LINK: userspace/net/net.c userspace/net/library.c userspace/net/slirp.c userspace/net/tap.c userspace/net/vhost.c userspace/net/spec.c
 * LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c userspace/board/mem.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/common/thread.c
 * LIBS: -ldl
 * CFLAGS: -I/usr/include/libnl3
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../virtio/fake_board.h"
#include "virtio/virtio_net.h"

#define V1 (1ULL << VIRTIO_F_VERSION_1)
#define MRG (1ULL << VIRTIO_NET_F_MRG_RXBUF)
#define CTRL (1ULL << VIRTIO_NET_F_CTRL_VQ)
#define MQ (1ULL << VIRTIO_NET_F_MQ)
#define RINGS(i)                                                                                                    \
	(V1 | ((i) & 1 ? 1ULL << VIRTIO_F_RING_PACKED : 0) | ((i) & 2 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0) |       \
	 1ULL << VIRTIO_RING_F_INDIRECT_DESC)

static struct gdev g;
static struct virtio_dev *dev;

/* ---- a back end that sends everything back ---- */

static struct {
	struct net net;
	u8 held[NET_FRAME_MAX];
	size_t held_len;
	unsigned int rooms, queues, closed;
	u64 offloads;
} echo;

static int echo_start(struct net *net, unsigned int queue, struct loop *loop)
{
	(void)net;
	(void)queue;
	(void)loop;
	return 0;
}

static void echo_stop(struct net *net, unsigned int queue, struct loop *loop)
{
	echo_start(net, queue, loop);
}

static int echo_send(struct net *net, unsigned int queue, const struct iovec *iov, int cnt)
{
	u8 frame[NET_FRAME_MAX];
	size_t len = 0;

	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > sizeof(frame) - len)
			return -EMSGSIZE;
		memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (net->client.receive(net->client.ctx, queue, frame, len) == -EAGAIN) {
		memcpy(echo.held, frame, len);
		echo.held_len = len;
	}
	net->client.flush(net->client.ctx, queue);
	return 0;
}

static void echo_room(struct net *net, unsigned int queue)
{
	echo.rooms++;
	if (echo.held_len && net->client.receive(net->client.ctx, queue, echo.held, echo.held_len) != -EAGAIN)
		echo.held_len = 0;
	net->client.flush(net->client.ctx, queue);
}

static int echo_offloads(struct net *net, u64 features)
{
	(void)net;
	echo.offloads = features;
	return 0;
}

static int echo_queues(struct net *net, unsigned int queues)
{
	(void)net;
	echo.queues = queues;
	return 0;
}

static void echo_close(struct net *net)
{
	(void)net;
	echo.closed++;
}

static const struct net_ops echo_ops = {
	.start = echo_start,
	.stop = echo_stop,
	.send = echo_send,
	.room = echo_room,
	.set_offloads = echo_offloads,
	.set_queues = echo_queues,
	.close = echo_close,
};

static void make_card(struct net *net)
{
	struct virtio_net_opts opts = { .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct err e = ERR_INIT;

	dev = virtio_net_create(&fb.board, net, &opts, &e);
	ck_assert_msg(dev, "%s", e.msg);
	fb_run();
	g_probe(&g, 1);
}

static void set_up(unsigned int pairs)
{
	fb_init();
	memset(&echo, 0, sizeof(echo));
	echo.net = (struct net){
		.ops = &echo_ops,
		.features = 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM |
			    1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO4,
		.ring_features = ~0ULL,
		.max_queues = pairs,
		.mac = { 2, 1, 2, 3, 4, 5 },
		.mtu = 1400,
		.name = "echo",
	};
	make_card(&echo.net);
}

static void tear_down(void)
{
	g_fini(&g);
	fb_fini();
}

static void start(u64 features, unsigned int queues)
{
	ck_assert(g_negotiate(&g, features));
	g_queues(&g, queues);
	g_driver_ok(&g);
}

#define RX_AT(i) (FB_BUF + 0x1000ull * (i))
#define TX_AT (FB_BUF + 0x200000ull)

static void give_rx(unsigned int q, unsigned int from, unsigned int n, u32 len)
{
	for (unsigned int i = from; i < from + n; i++) {
		struct drv_seg s = { RX_AT(i), len, true };

		ck_assert_int_ge(drv_add(&g.drv[q], &s, 1, false), 0);
	}
	g_kick(&g, q);
}

static void send_frame(unsigned int q, u32 len, u8 fill)
{
	struct drv_seg s[2] = { { TX_AT, NET_HDR_LEN, false }, { TX_AT + 64, len, false } };
	u32 used;

	memset(fb_at(TX_AT, NET_HDR_LEN), 0, NET_HDR_LEN);
	memset(fb_at(TX_AT + 64, len), fill, len);
	ck_assert_int_ge(drv_add(&g.drv[q], s, 2, len & 1), 0);
	g_kick(&g, q);
	ck_assert_int_ge(g_wait(&g, q, &used), 0);
}

START_TEST(frames_pass_both_ways)
{
	struct virtio_net_stats stats;
	u32 len;

	set_up(1);
	start(RINGS(_i) | (_i & 4 ? MRG : 0), 2);
	for (unsigned int k = 0; k < 60; k++) {
		u32 size = 60 + k * 20;

		give_rx(0, 0, 1, 2048);
		send_frame(1, size, k);
		ck_assert_int_ge(g_wait(&g, 0, &len), 0);
		ck_assert_uint_eq(len, size + NET_HDR_LEN);
		ck_assert_uint_eq(*(u16 *)fb_at(RX_AT(0) + 10, 2), 1);
		for (u32 b = 0; b < size; b++)
			ck_assert_uint_eq(*(u8 *)fb_at(RX_AT(0) + NET_HDR_LEN + b, 1), (u8)k);
	}
	virtio_net_stats(dev, &stats);
	ck_assert_uint_eq(stats.rx_frames, 60);
	ck_assert_uint_eq(stats.tx_frames, 60);
	ck_assert_uint_eq(stats.rx_dropped + stats.tx_dropped, 0);
	tear_down();
}
END_TEST

START_TEST(large_frame_is_spread_over_merged_buffers)
{
	u32 len, sum = 0;
	int n = 0;

	set_up(1);
	start(RINGS(_i) | MRG, 2);
	give_rx(0, 0, 32, 1000);
	send_frame(1, 9000, 0x5a);
	while (sum < 9000 + NET_HDR_LEN) {
		ck_assert_int_ge(g_wait(&g, 0, &len), 0);
		sum += len;
		n++;
	}
	ck_assert_int_eq(n, 10);
	ck_assert_uint_eq(sum, 9000 + NET_HDR_LEN);
	ck_assert_uint_eq(*(u16 *)fb_at(RX_AT(0) + 10, 2), 10);
	ck_assert_uint_eq(*(u8 *)fb_at(RX_AT(9) + 11, 1), 0x5a);
	ck_assert_int_eq(drv_reap(&g.drv[0], &len), -1);
	tear_down();
}
END_TEST

START_TEST(frame_waits_until_the_guest_has_room)
{
	u32 len;

	set_up(1);
	start(RINGS(_i) | MRG, 2);
	give_rx(0, 0, 3, 500);
	send_frame(1, 3000, 1);			/* needs 7 */
	ck_assert_int_eq(drv_reap(&g.drv[0], &len), -1);
	give_rx(0, 3, 3, 500);			/* 6 are still too few */
	usleep(20000);
	ck_assert_int_eq(drv_reap(&g.drv[0], &len), -1);
	give_rx(0, 6, 1, 500);
	for (int i = 0; i < 7; i++)
		ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	ck_assert_uint_ge(echo.rooms, 1);
	tear_down();
}
END_TEST

START_TEST(frame_too_large_for_its_buffer_is_dropped)
{
	struct virtio_net_stats stats;
	u32 len;

	set_up(1);
	start(RINGS(_i), 2);
	give_rx(0, 0, 1, 200);
	send_frame(1, 300, 1);
	ck_assert_int_eq(drv_reap(&g.drv[0], &len), -1);
	send_frame(1, 100, 1);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	virtio_net_stats(dev, &stats);
	ck_assert_uint_eq(stats.rx_dropped, 1);
	tear_down();
}
END_TEST

START_TEST(frame_without_header_breaks_the_device)
{
	struct drv_seg s = { TX_AT, NET_HDR_LEN - 1, false };

	set_up(1);
	start(RINGS(_i), 2);
	drv_add(&g.drv[1], &s, 1, false);
	g_kick(&g, 1);
	ck_assert(g_broken(&g));
	tear_down();
}
END_TEST

START_TEST(receive_buffer_smaller_than_the_header_breaks_the_device)
{
	set_up(1);
	start(RINGS(_i), 2);
	give_rx(0, 0, 1, NET_HDR_LEN - 1);
	send_frame(1, 100, 1);
	ck_assert(g_broken(&g));
	tear_down();
}
END_TEST

/* Answers the ack byte. */
static u8 command(unsigned int q, u8 class, u8 cmd, const void *data, u32 data_len)
{
	struct drv_seg s[3] = { { TX_AT, 2, false }, { TX_AT + 16, data_len, false }, { TX_AT + 8, 1, true } };
	u32 len;

	*(u8 *)fb_at(TX_AT, 1) = class;
	*(u8 *)fb_at(TX_AT + 1, 1) = cmd;
	memcpy(fb_at(TX_AT + 16, data_len), data, data_len);
	*(u8 *)fb_at(TX_AT + 8, 1) = 0xaa;
	ck_assert_int_ge(drv_add(&g.drv[q], s, 3, false), 0);
	g_kick(&g, q);
	ck_assert_int_ge(g_wait(&g, q, &len), 0);
	ck_assert_uint_eq(len, 1);
	return *(u8 *)fb_at(TX_AT + 8, 1);
}

START_TEST(configuration_tells_address_link_and_pairs)
{
	set_up(3);
	ck_assert_uint_eq(g_read(g.config, 4), 0x03020102);
	ck_assert_uint_eq(g_read(g.config + 6, 2), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(g_read(g.config + 8, 2), 3);
	ck_assert_uint_eq(g_read(g.config + 10, 2), 1400);
	ck_assert(g_offered(&g) & MQ);
	virtio_net_set_link(dev, false);
	ck_assert_uint_eq(g_read(g.config + 6, 2), 0);
	tear_down();
}
END_TEST

START_TEST(pairs_are_independent_and_switched_by_command)
{
	u16 pairs = 2;
	u32 len;

	set_up(2);
	start(RINGS(_i) | MQ | CTRL | MRG, 5);
	ck_assert_uint_eq(echo.queues, 1);
	ck_assert_uint_eq(command(4, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_OK);
	ck_assert_uint_eq(echo.queues, 2);
	give_rx(0, 0, 4, 2048);
	give_rx(2, 8, 4, 2048);
	send_frame(3, 100, 9);
	ck_assert_int_ge(g_wait(&g, 2, &len), 0);
	ck_assert_uint_eq(*(u8 *)fb_at(RX_AT(8) + 50, 1), 9);
	ck_assert_int_eq(drv_reap(&g.drv[0], &len), -1);
	send_frame(1, 100, 8);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	pairs = 3;
	ck_assert_uint_eq(command(4, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_ERR);
	pairs = 0;
	ck_assert_uint_eq(command(4, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_ERR);
	tear_down();
}
END_TEST

START_TEST(control_queue_is_the_third_without_mq)
{
	static const u8 mac[6] = { 0x52, 1, 2, 3, 4, 9 }, group[6] = { 1, 1, 2, 3, 4, 9 };
	u8 table[4 + 6 + 4 + 12] = { 1 }, on = 1;

	set_up(2);
	start(RINGS(_i) | CTRL | 1ULL << VIRTIO_NET_F_CTRL_MAC_ADDR | 1ULL << VIRTIO_NET_F_CTRL_RX, 3);
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_RX, 77, &on, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), VIRTIO_NET_OK);
	ck_assert_uint_eq(g_read(g.config + 5, 1), 9);
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, group, 6), VIRTIO_NET_ERR);
	table[10] = 2;
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 26), VIRTIO_NET_OK);
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 25), VIRTIO_NET_ERR);
	table[0] = 0xff;
	table[3] = 0xff;
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 26), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(2, 99, 0, &on, 1), VIRTIO_NET_ERR);
	/* The address is the configured one again after a reset. */
	g_set_common(&g, 20, 1, 0);
	ck_assert_uint_eq(g_read(g.config + 5, 1), 5);
	tear_down();
}
END_TEST

START_TEST(offloads_follow_features_and_commands)
{
	u64 tso = 1ULL << VIRTIO_NET_F_GUEST_TSO4, csum = 1ULL << VIRTIO_NET_F_GUEST_CSUM, want;

	set_up(1);
	ck_assert(!g_negotiate(&g, V1 | tso));
	ck_assert(!g_negotiate(&g, V1 | 1ULL << VIRTIO_NET_F_HOST_TSO4));
	start(RINGS(_i) | CTRL | csum | tso | 1ULL << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, 3);
	ck_assert_uint_eq(echo.offloads, tso | csum);
	want = csum;
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &want, 8), VIRTIO_NET_OK);
	ck_assert_uint_eq(echo.offloads, csum);
	want = 1ULL << VIRTIO_NET_F_GUEST_UFO;
	ck_assert_uint_eq(command(2, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &want, 8), VIRTIO_NET_ERR);
	g_set_common(&g, 20, 1, 0);
	ck_assert_uint_eq(echo.offloads, 0);
	tear_down();
}
END_TEST

START_TEST(card_closes_its_back_end_once)
{
	set_up(2);
	tear_down();
	ck_assert_uint_eq(echo.closed, 1);
}
END_TEST

/* ---- the user network ---- */

static void put16(u8 *p, u16 v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static u16 ip_sum(const u8 *p, size_t len, u32 sum)
{
	for (; len > 1; len -= 2, p += 2)
		sum += p[0] << 8 | p[1];
	if (len)
		sum += *p << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Ethernet, IPv4 and UDP around a payload; the UDP checksum is left to the card. Answers the frame's length. */
static u32 udp_frame(u8 *f, u32 src, u32 dst, u16 sport, u16 dport, const void *payload, u32 len)
{
	static const u8 mac[6] = { 2, 1, 2, 3, 4, 5 };
	u8 *ip = f + 14, *udp = ip + 20, pseudo[12] = { 0 };

	memset(f, 0, 42);
	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 28 + len);
	ip[8] = 64;
	ip[9] = 17;
	put16(ip + 12, src >> 16);
	put16(ip + 14, src);
	put16(ip + 16, dst >> 16);
	put16(ip + 18, dst);
	put16(ip + 10, ~ip_sum(ip, 20, 0));
	put16(udp, sport);
	put16(udp + 2, dport);
	put16(udp + 4, 8 + len);
	memcpy(pseudo, ip + 12, 8);
	pseudo[9] = 17;
	put16(pseudo + 10, 8 + len);
	put16(udp + 6, ip_sum(pseudo, 12, 0));
	memcpy(udp + 8, payload, len);
	return 42 + len;
}

static void send_udp(u32 src, u32 dst, u16 sport, u16 dport, const void *payload, u32 len)
{
	struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6,
	};
	struct drv_seg s = { TX_AT, 0, false };
	u32 used;

	memcpy(fb_at(TX_AT, NET_HDR_LEN), &hdr, NET_HDR_LEN);
	s.len = NET_HDR_LEN + udp_frame(fb_at(TX_AT + NET_HDR_LEN, 2000), src, dst, sport, dport, payload, len);
	ck_assert_int_ge(drv_add(&g.drv[1], &s, 1, false), 0);
	g_kick(&g, 1);
	ck_assert_int_ge(g_wait(&g, 1, &used), 0);
}

/* Discover: the answer is in the next receive buffer. */
static void dhcp_discover(void)
{
	u8 dhcp[300] = { 1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78 };
	static const u8 tail[] = { 99, 130, 83, 99, 53, 1, 1, 255 };

	dhcp[28] = 2;
	dhcp[29] = 1;
	memcpy(dhcp + 30, "\2\3\4\5", 4);
	memcpy(dhcp + 236, tail, sizeof(tail));
	send_udp(0, 0xffffffff, 68, 67, dhcp, sizeof(dhcp));
}

static void set_up_user(const char *text, int ring)
{
	struct net_spec spec;
	struct err e = ERR_INIT;
	struct net *net;

	fb_init();
	ck_assert(!net_spec_parse(text, &spec, &e));
	net = net_open(&spec, &e);
	ck_assert_msg(net, "%s", e.msg);
	make_card(net);
	start(RINGS(ring) | MRG | 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM, 2);
	give_rx(0, 0, 32, 2048);
}

START_TEST(user_network_offers_an_address)
{
	u8 *f;
	u32 len;

	set_up_user("user,mac=02:01:02:03:04:05", _i);
	dhcp_discover();
	ck_assert_msg(g_wait(&g, 0, &len) >= 0, "no offer");
	f = fb_at(RX_AT(0), len);
	ck_assert_uint_eq(f[0] & VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_DATA_VALID);
	ck_assert_uint_eq(f[NET_HDR_LEN + 23], 17);
	/* yiaddr of the answer */
	ck_assert_mem_eq(f + NET_HDR_LEN + 42 + 16, "\x0a\x00\x02\x0f", 4);
	tear_down();
}
END_TEST

START_TEST(user_network_reaches_the_host_by_udp)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t alen = sizeof(addr);
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval tv = { 5, 0 };
	u32 len, at = 0;
	char buf[64];

	ck_assert_int_eq(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	getsockname(sock, (struct sockaddr *)&addr, &alen);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	set_up_user("user,mac=02:01:02:03:04:05", _i);
	send_udp(0x0a00020f, 0x0a000202, 4000, ntohs(addr.sin_port), "ping!", 5);
	alen = sizeof(addr);
	ck_assert_int_eq(recvfrom(sock, buf, sizeof(buf), 0, (struct sockaddr *)&addr, &alen), 5);
	ck_assert_mem_eq(buf, "ping!", 5);
	ck_assert_int_eq(sendto(sock, "pong", 4, 0, (struct sockaddr *)&addr, alen), 4);
	/* It asks for our address first (ARP); answer, then the datagram comes. */
	for (int i = 0; i < 4; i++) {
		u8 *f;

		ck_assert_msg(g_wait(&g, 0, &len) >= 0, "no answer");
		f = (u8 *)fb_at(RX_AT(at++), len) + NET_HDR_LEN;
		if (f[12] == 8 && f[13] == 6) {
			struct drv_seg s = { TX_AT, NET_HDR_LEN + 42, false };
			u8 *r = fb_at(TX_AT, 128);
			u32 used;

			memset(r, 0, 128);
			r += NET_HDR_LEN;
			memcpy(r, f + 6, 6);
			memcpy(r + 6, "\2\1\2\3\4\5", 6);
			memcpy(r + 12, f + 12, 10);
			r[21] = 2;
			memcpy(r + 22, "\2\1\2\3\4\5", 6);
			memcpy(r + 28, f + 38, 4);
			memcpy(r + 32, f + 22, 10);
			drv_add(&g.drv[1], &s, 1, false);
			g_kick(&g, 1);
			ck_assert_int_ge(g_wait(&g, 1, &used), 0);
			continue;
		}
		ck_assert_uint_eq(f[23], 17);
		ck_assert_mem_eq(f + 42, "pong", 4);
		close(sock);
		tear_down();
		return;
	}
	ck_abort_msg("only ARP came");
}
END_TEST

START_TEST(user_network_survives_rubbish)
{
	set_up_user("user", _i);
	srand(5);
	for (int i = 0; i < 200; i++) {
		struct drv_seg s = { TX_AT, NET_HDR_LEN + 1 + rand() % 1600, false };
		u8 *f = fb_at(TX_AT, s.len);
		u32 len;

		for (u32 k = 0; k < s.len; k++)
			f[k] = rand();
		if (i & 1)
			memset(f, 0, NET_HDR_LEN);
		f[1] = rand() & 3 ? 0 : f[1];
		if (i & 2)
			memcpy(f + NET_HDR_LEN + 12, "\x08\x00\x45", 3);
		ck_assert_int_ge(drv_add(&g.drv[1], &s, 1, false), 0);
		g_kick(&g, 1);
		ck_assert_int_ge(g_wait(&g, 1, &len), 0);
	}
	ck_assert(!(g_status(&g) & VIRTIO_CONFIG_S_NEEDS_RESET));
	tear_down();
}
END_TEST

START_TEST(occupied_port_is_a_clear_error)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t alen = sizeof(addr);
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	struct net_spec spec;
	struct err e = ERR_INIT;
	char text[64];

	ck_assert_int_eq(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(sock, 1), 0);
	getsockname(sock, (struct sockaddr *)&addr, &alen);
	snprintf(text, sizeof(text), "user,hostfwd=tcp::%u-:80", ntohs(addr.sin_port));
	ck_assert(!net_spec_parse(text, &spec, &e));
	ck_assert_ptr_null(net_open(&spec, &e));
	ck_assert_ptr_nonnull(strstr(e.msg, "cannot listen"));
	close(sock);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_net");
	TCase *t = tcase_create("net");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, frames_pass_both_ways, 0, 8);
	tcase_add_loop_test(t, large_frame_is_spread_over_merged_buffers, 0, 4);
	tcase_add_loop_test(t, frame_waits_until_the_guest_has_room, 0, 4);
	tcase_add_loop_test(t, frame_too_large_for_its_buffer_is_dropped, 0, 2);
	tcase_add_loop_test(t, frame_without_header_breaks_the_device, 0, 2);
	tcase_add_loop_test(t, receive_buffer_smaller_than_the_header_breaks_the_device, 0, 2);
	tcase_add_test(t, configuration_tells_address_link_and_pairs);
	tcase_add_loop_test(t, pairs_are_independent_and_switched_by_command, 0, 4);
	tcase_add_loop_test(t, control_queue_is_the_third_without_mq, 0, 2);
	tcase_add_loop_test(t, offloads_follow_features_and_commands, 0, 2);
	tcase_add_test(t, card_closes_its_back_end_once);
	tcase_add_loop_test(t, user_network_offers_an_address, 0, 4);
	tcase_add_loop_test(t, user_network_reaches_the_host_by_udp, 0, 2);
	tcase_add_loop_test(t, user_network_survives_rubbish, 0, 2);
	tcase_add_test(t, occupied_port_is_a_clear_error);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
