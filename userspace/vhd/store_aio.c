// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Queues on files: libaio for what O_DIRECT makes asynchronous, a few threads
 * for the rest.
 *
 * Linux' aio is asynchronous only for direct I/O; a buffered read would block
 * in io_submit(). So with O_DIRECT reads, writes and fdatasync go to the
 * kernel, in one io_submit() per kick, and only fallocate goes to a helper
 * thread; without O_DIRECT everything does. Short transfers and EINVAL from
 * the kernel's side are given to a helper too, which loops until it has the
 * whole or the true error.
 *
 * Where direct I/O must be in units of more than 512 bytes, what is not made
 * of whole units goes to the helper and through the page cache: a change of
 * that kind (soft) waits there for the direct ones in flight that share a
 * unit with it, and a direct one that meets a soft one becomes soft itself.
 *
 * One eventfd tells of all: the kernel raises it at completions, a helper
 * after putting an operation on the queue's done list, wake() at will. A
 * queue and its store's threads are created before they are used and nothing
 * is allocated afterwards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhd/codec.h"
#include "vhd/store_file.h"

#define BATCH		64
#define SPARES		4
#define STACK_BYTES	(128 << 10)

static void (*thread_begins)(void);

void vhd_on_thread(void (*fn)(void))
{
	thread_begins = fn;
}

struct store_queue {
	struct store_file *file;
	io_context_t ctx;
	bool aio;
	unsigned int depth;			/* of ctx */
	int fd;
	unsigned int inkernel;
	struct store_io *held, **held_tail;	/* not yet submitted */
	pthread_mutex_t lock;
	struct store_io *done, **done_tail;	/* lock; finished by helpers */
};

/*
 * The kernel takes an RCU grace period, tens of milliseconds, to destroy a
 * context, more than many an image needs from open to close. So a few idle
 * ones are kept for the next queues. A fork's child has none of them.
 */
static struct {
	pthread_mutex_t lock;
	pid_t owner;
	unsigned int n;
	struct {
		io_context_t ctx;
		unsigned int depth;
	} idle[SPARES];
} spares = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool context_take(unsigned int depth, io_context_t *ctx, unsigned int *got)
{
	unsigned int i;
	bool found = false;

	pthread_mutex_lock(&spares.lock);
	if (spares.owner != getpid())
		spares.n = 0;
	for (i = 0; i < spares.n && !found; i++) {
		if (spares.idle[i].depth < depth)
			continue;
		*ctx = spares.idle[i].ctx;
		*got = spares.idle[i].depth;
		spares.idle[i] = spares.idle[--spares.n];
		found = true;
	}
	pthread_mutex_unlock(&spares.lock);
	*got = found ? *got : depth;
	return found || !io_setup(depth, ctx);
}

/* Nothing is in flight in it. */
static void context_give(io_context_t ctx, unsigned int depth)
{
	bool kept;

	pthread_mutex_lock(&spares.lock);
	if (spares.owner != getpid())
		spares.n = 0;
	spares.owner = getpid();
	kept = spares.n < SPARES;
	if (kept) {
		spares.idle[spares.n].ctx = ctx;
		spares.idle[spares.n++].depth = depth;
	}
	pthread_mutex_unlock(&spares.lock);
	if (!kept)
		io_destroy(ctx);
}

/* Where in an iovec array a transfer has got to. */
struct place {
	int i;
	size_t skip;
};

static void place_advance(struct place *p, const struct store_io *io, size_t n)
{
	while (p->i < io->iovcnt) {
		size_t left = io->iov[p->i].iov_len - p->skip;

		if (n < left) {
			p->skip += n;
			return;
		}
		n -= left;
		p->skip = 0;
		p->i++;
	}
}

static void place_zero(struct place *p, const struct store_io *io)
{
	for (; p->i < io->iovcnt; p->i++, p->skip = 0)
		memset((char *)io->iov[p->i].iov_base + p->skip, 0,
		       io->iov[p->i].iov_len - p->skip);
}

/* The descriptor for transfers that a helper does. */
static int helper_fd(const struct store_io *io)
{
	const struct store_file *f = store_file_of(io->store);

	return f->soft_fd >= 0 ? f->soft_fd : f->fd;
}

/* Untouched iovecs go in one call, a half-done one alone. */
static ssize_t transfer_some(const struct store_io *io, const struct place *p, uint64_t offset)
{
	int fd = helper_fd(io);
	struct iovec part = { (char *)io->iov[p->i].iov_base + p->skip,
			      io->iov[p->i].iov_len - p->skip };
	const struct iovec *iov = p->skip ? &part : io->iov + p->i;
	int n = p->skip ? 1 : io->iovcnt - p->i;

	if (n > 1024)
		n = 1024;
	return io->op == STORE_READ ? preadv(fd, iov, n, offset) : pwritev(fd, iov, n, offset);
}

/* Moves the whole of @io. */
static int transfer(struct store_io *io)
{
	struct place p = { 0, 0 };
	uint64_t at = io->offset;

	place_advance(&p, io, 0);
	while (p.i < io->iovcnt) {
		ssize_t n = transfer_some(io, &p, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n && io->op == STORE_WRITE)
			return -ENOSPC;
		at += n;
		place_advance(&p, io, n);
		/* The end of the file: what lies beyond reads as zeros. */
		if (io->op == STORE_READ && (!n || (n % VHD_SECTOR && at >= io->store->size)))
			place_zero(&p, io);
	}
	return 0;
}

static int zero_by_writing(int fd, uint64_t offset, uint64_t length)
{
	static const uint8_t zeros[65536] __attribute__((aligned(4096)));

	while (length) {
		ssize_t n = pwrite(fd, zeros, length < sizeof(zeros) ? length : sizeof(zeros), offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENOSPC;
		offset += n;
		length -= n;
	}
	return 0;
}

static int zero(struct store_io *io)
{
	int fd = store_file_of(io->store)->fd;

	if (io->op == STORE_PUNCH &&
	    !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, io->offset, io->length))
		return 0;
	if (!fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, io->offset, io->length))
		return 0;
	if (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS && errno != ENODEV)
		return -errno;
	return zero_by_writing(helper_fd(io), io->offset, io->length);
}

int store_file_do(struct store_io *io)
{
	switch (io->op) {
	case STORE_READ:
	case STORE_WRITE:
		return transfer(io);
	case STORE_SYNC:
		return fdatasync(store_file_of(io->store)->fd) ? -errno : 0;
	case STORE_PUNCH:
	case STORE_ZERO:
		return zero(io);
	}
	return -EINVAL;
}

void store_aio_wake(struct store_queue *sq)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(sq->fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

static void list_add(struct store_io **list, struct store_io *io)
{
	io->after = *list;
	io->before = list;
	if (io->after)
		io->after->before = &io->after;
	*list = io;
}

static void list_remove(struct store_io *io)
{
	*io->before = io->after;
	if (io->after)
		io->after->before = io->before;
	io->before = NULL;
}

/* Whether a change on @list touches a unit that @io touches. */
static bool list_meets(const struct store_io *list, const struct store_io *io, uint64_t unit)
{
	uint64_t from = io->offset / unit, to = (io->offset + io->length - 1) / unit;

	for (; list; list = list->after)
		if (list->offset / unit <= to && (list->offset + list->length - 1) / unit >= from)
			return true;
	return false;
}

static bool changes(const struct store_io *io)
{
	return io->op != STORE_READ && io->op != STORE_SYNC && io->length;
}

static bool made_of_units(const struct store_io *io, uint32_t unit)
{
	int i;

	if ((io->offset | io->length) % unit)
		return false;
	for (i = 0; i < io->iovcnt; i++)
		if (((uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len) % unit)
			return false;
	return true;
}

/* Lists @io if it must be; true if it may go straight to the storage. */
static bool take_off(struct store_io *io)
{
	struct store_file *f = store_file_of(io->store);
	bool whole;

	io->before = NULL;
	if (f->soft_fd < 0)
		return true;
	whole = made_of_units(io, f->unit) && (io->op == STORE_READ || io->op == STORE_WRITE);
	if (io->op == STORE_SYNC || !changes(io))
		return io->op == STORE_SYNC || whole;
	pthread_mutex_lock(&f->lock);
	whole = whole && !list_meets(f->soft, io, f->unit);
	list_add(whole ? &f->whole : &f->soft, io);
	pthread_mutex_unlock(&f->lock);
	return whole;
}

/* A whole one is over, or is to go on as a soft one. */
static void land(struct store_io *io, bool again)
{
	struct store_file *f = store_file_of(io->store);

	if (!io->before)
		return;
	pthread_mutex_lock(&f->lock);
	list_remove(io);
	if (again)
		list_add(&f->soft, io);
	pthread_cond_broadcast(&f->landed);
	pthread_mutex_unlock(&f->lock);
}

/* In a helper: @io when nothing that shares a unit with it is in the kernel. */
static int do_softly(struct store_io *io)
{
	struct store_file *f = store_file_of(io->store);
	int ret;

	if (!io->before)
		return store_file_do(io);
	pthread_mutex_lock(&f->lock);
	while (list_meets(f->whole, io, f->unit))
		pthread_cond_wait(&f->landed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	ret = store_file_do(io);
	pthread_mutex_lock(&f->lock);
	list_remove(io);
	pthread_mutex_unlock(&f->lock);
	return ret;
}

static void *helper(void *arg)
{
	struct store_file *f = arg;

	if (thread_begins)
		thread_begins();
	pthread_mutex_lock(&f->lock);
	for (;;) {
		struct store_queue *sq;
		struct store_io *io = f->head;

		if (!io) {
			if (f->stop)
				break;
			pthread_cond_wait(&f->work, &f->lock);
			continue;
		}
		f->head = io->next;
		if (!f->head)
			f->tail = &f->head;
		pthread_mutex_unlock(&f->lock);
		io->result = do_softly(io);
		sq = io->queue;
		pthread_mutex_lock(&sq->lock);
		io->next = NULL;
		*sq->done_tail = io;
		sq->done_tail = &io->next;
		/* Inside the lock: once it is released the queue may go away. */
		store_aio_wake(sq);
		pthread_mutex_unlock(&sq->lock);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void helpers_stop(struct store_file *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->work);
	pthread_mutex_unlock(&f->lock);
	while (f->threads)
		pthread_join(f->thread[--f->threads], NULL);
	f->stop = false;
}

static int helpers_start(struct store_file *f)
{
	unsigned int want = f->store.direct ? STORE_THREADS_DIRECT : STORE_THREADS_BUFFERED;
	/* Signals of a fault are for the thread that makes it; the program may have a handler. */
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t all, old;
	pthread_attr_t attr;
	unsigned int i;
	int ret = 0;

	sigfillset(&all);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (f->threads < want && !ret) {
		ret = pthread_create(&f->thread[f->threads], &attr, helper, f);
		if (!ret)
			f->threads++;
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (f->threads)
		return 0;
	return -ret;
}

static void to_helper(struct store_queue *sq, struct store_io *io)
{
	struct store_file *f = sq->file;

	io->queue = sq;
	io->next = NULL;
	pthread_mutex_lock(&f->lock);
	*f->tail = io;
	f->tail = &io->next;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
}

/* A whole one in a helper's row would keep those before it waiting: it becomes soft. */
static void kernel_refused(struct store_queue *sq, struct store_io *io)
{
	land(io, true);
	to_helper(sq, io);
}

int store_aio_create(struct store *s, unsigned int depth, struct store_queue **out)
{
	struct store_file *f = (struct store_file *)s;
	struct store_queue *sq = calloc(1, sizeof(*sq));
	int ret;

	if (!sq)
		return -ENOMEM;
	sq->file = f;
	sq->held_tail = &sq->held;
	sq->done_tail = &sq->done;
	pthread_mutex_init(&sq->lock, NULL);
	sq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sq->fd < 0) {
		ret = -errno;
		goto fail;
	}
	/* Without aio (no such system call, or the host's limit) helpers do it. */
	sq->aio = s->direct && context_take(depth, &sq->ctx, &sq->depth);
	pthread_mutex_lock(&f->queue_lock);
	ret = f->queues ? 0 : helpers_start(f);
	if (!ret)
		f->queues++;
	pthread_mutex_unlock(&f->queue_lock);
	if (ret)
		goto fail;
	*out = sq;
	return 0;
fail:
	if (sq->aio)
		context_give(sq->ctx, sq->depth);
	if (sq->fd >= 0)
		close(sq->fd);
	pthread_mutex_destroy(&sq->lock);
	free(sq);
	return ret;
}

int store_aio_move(struct store_queue *sq, struct store *s, unsigned int depth)
{
	struct store_file *old = sq->file, *f = (struct store_file *)s;
	int ret;

	pthread_mutex_lock(&f->queue_lock);
	ret = f->queues ? 0 : helpers_start(f);
	if (!ret)
		f->queues++;
	pthread_mutex_unlock(&f->queue_lock);
	if (ret)
		return ret;
	sq->file = f;
	pthread_mutex_lock(&old->queue_lock);
	if (!--old->queues)
		helpers_stop(old);
	pthread_mutex_unlock(&old->queue_lock);
	if (!sq->aio)
		sq->aio = s->direct && !io_setup(depth, &sq->ctx);
	return 0;
}

void store_aio_destroy(struct store_queue *sq)
{
	if (!sq)
		return;
	pthread_mutex_lock(&sq->file->queue_lock);
	if (!--sq->file->queues)
		helpers_stop(sq->file);
	pthread_mutex_unlock(&sq->file->queue_lock);
	/* One that was abandoned with operations in flight ends with them. */
	if (sq->aio && sq->inkernel)
		io_destroy(sq->ctx);
	else if (sq->aio)
		context_give(sq->ctx, sq->depth);
	/* A helper that raised the eventfd may still hold the lock. */
	pthread_mutex_lock(&sq->lock);
	pthread_mutex_unlock(&sq->lock);
	close(sq->fd);
	pthread_mutex_destroy(&sq->lock);
	free(sq);
}

static bool kernel_can(const struct store_queue *sq, const struct store_io *io)
{
	if (!sq->aio || !io->store->direct)
		return false;
	return io->op == STORE_READ || io->op == STORE_WRITE || io->op == STORE_SYNC;
}

void store_aio_submit(struct store_queue *sq, struct store_io *io)
{
	int fd = ((struct store_file *)io->store)->fd;

	io->queue = sq;
	if (!take_off(io)) {
		to_helper(sq, io);
		return;
	}
	if (!kernel_can(sq, io)) {
		kernel_refused(sq, io);
		return;
	}
	switch (io->op) {
	case STORE_READ:
		io_prep_preadv(&io->iocb, fd, io->iov, io->iovcnt, io->offset);
		break;
	case STORE_WRITE:
		io_prep_pwritev(&io->iocb, fd, io->iov, io->iovcnt, io->offset);
		break;
	default:
		io_prep_fdsync(&io->iocb, fd);
		break;
	}
	io_set_eventfd(&io->iocb, sq->fd);
	io->iocb.data = io;
	io->next = NULL;
	*sq->held_tail = io;
	sq->held_tail = &io->next;
}

static struct store_io *held_pop(struct store_queue *sq)
{
	struct store_io *io = sq->held;

	sq->held = io->next;
	if (!sq->held)
		sq->held_tail = &sq->held;
	return io;
}

void store_aio_kick(struct store_queue *sq)
{
	while (sq->held) {
		struct iocb *batch[BATCH];
		struct store_io *io;
		long n = 0;
		int ret;

		for (io = sq->held; io && n < BATCH; io = io->next)
			batch[n++] = &io->iocb;
		ret = io_submit(sq->ctx, n, batch);
		if (ret > 0) {
			sq->inkernel += ret;
			while (ret--)
				held_pop(sq);
			continue;
		}
		/* Full: what is in the kernel will come back and kick again. */
		if (ret == -EAGAIN && sq->inkernel)
			return;
		kernel_refused(sq, held_pop(sq));
	}
}

static void reap(struct store_queue *sq, struct io_event *ev)
{
	struct store_io *io = ev->data;
	long res = (long)ev->res;

	sq->inkernel--;
	if (io->op == STORE_SYNC) {
		if (res == -EINVAL)
			to_helper(sq, io);
		else
			io->done(io, res < 0 ? res : 0);
	} else if (res == (long)io->length) {
		land(io, false);
		io->done(io, 0);
	} else if (res >= 0 || res == -EINVAL || res == -EAGAIN) {
		kernel_refused(sq, io);
	} else {
		land(io, false);
		io->done(io, res);
	}
}

void store_aio_poll(struct store_queue *sq)
{
	static const struct timespec now;
	struct io_event ev[BATCH];
	struct store_io *io;
	uint64_t count;
	int i, n;

	if (read(sq->fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		return;
	pthread_mutex_lock(&sq->lock);
	io = sq->done;
	sq->done = NULL;
	sq->done_tail = &sq->done;
	pthread_mutex_unlock(&sq->lock);
	while (io) {
		struct store_io *next = io->next;

		io->done(io, io->result);
		io = next;
	}
	while (sq->inkernel) {
		n = io_getevents(sq->ctx, 0, BATCH, ev, (struct timespec *)&now);
		for (i = 0; i < n; i++)
			reap(sq, &ev[i]);
		if (n < BATCH)
			break;
	}
	store_aio_kick(sq);
}

int store_aio_fd(const struct store_queue *sq)
{
	return sq->fd;
}

void store_aio_wait(struct store_queue *sq)
{
	struct pollfd p = { .fd = sq->fd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}
