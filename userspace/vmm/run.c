// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `lodge run`.
 *
 * One context object holds what the run consists of, and one function takes it all down again in
 * the reverse order, from whatever point was reached. The exit code is decided by the first thing
 * that ended the guest.
 */
#include "vmm/run.h"

#include <errno.h>
#include <fcntl.h>
#include <lodge/lodge.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/rundir.h"
#include "vmm/confine.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/devices.h"
#include "vmm/disks.h"
#include "vmm/exec.h"
#include "vmm/machine.h"
#include "vmm/plan.h"
#include "vmm/scan.h"
#include "vmm/terminal.h"
#include "vmm/vcpu.h"

#define DRAIN_NS 5000000ULL
#define DRAIN_TRIES 400

struct run {
	struct run_options *o;
	struct kvm kvm;
	struct loop *loop;
	struct machine *machine;
	struct devices *devices;
	struct console *console;
	struct control *control;
	struct exec *exec;
	struct scan *scan;
	char *cmdline;
	int kernel_fd, initrd_fd, lock_fd, signal_fd;
	struct loop_source signal_src;
	struct loop_timer timeout, drain;
	unsigned int drains;
	bool panicking;		/* console said so; read on the main thread */
	bool was_running;	/* before a disk made it stand still */
	int code;
	bool decided;
};

/* The first reason to end counts. */
static void finish(struct run *r, int code)
{
	if (!r->decided) {
		r->decided = true;
		r->code = code;
	}
	loop_stop(r->loop);
}

/* ---- what happens to a running guest ---- */

static void restart(struct run *r)
{
	struct err e = ERR_INIT;
	int ret;

	r->panicking = false;
	ret = machine_reset(r->machine, &e);
	if (!ret)
		ret = machine_start(r->machine, &e);
	if (ret < 0) {
		log_error("cannot restart the guest: %s", e.msg);
		finish(r, LODGE_EXIT_FAILURE);
	}
}

static void on_panic(struct run *r)
{
	switch (r->o->on_panic) {
	case RUN_PANIC_EXIT:
		finish(r, LODGE_EXIT_PANIC);
		break;
	case RUN_PANIC_RESTART:
		restart(r);
		break;
	case RUN_PANIC_STAY:
		r->panicking = false;
		machine_start(r->machine, NULL);
	}
}

/*
 * The guest powers off right behind the command's last words, which may still be in a queue, or
 * behind output that nobody reads. They are waited for, but not for ever.
 */
static void on_drain(void *ctx)
{
	struct run *r = ctx;

	if (exec_status(r->exec) >= 0 || r->drains++ == DRAIN_TRIES)
		finish(r, LODGE_EXIT_OFF);
	else
		loop_timer_arm(&r->drain, DRAIN_NS, 0);
}

static void on_machine_event(void *ctx, enum machine_event ev, const char *why)
{
	struct run *r = ctx;

	log_debug("guest event %d %s", ev, why);
	switch (ev) {
	case MACHINE_NONE:
		break;
	case MACHINE_OFF:
		if (r->exec && exec_status(r->exec) < 0)
			on_drain(r);
		else
			finish(r, LODGE_EXIT_OFF);
		break;
	case MACHINE_RESET:
		if (__atomic_load_n(&r->panicking, __ATOMIC_RELAXED))
			on_panic(r);
		else if (r->o->on_reboot == RUN_REBOOT_RESTART && !r->exec)
			restart(r);
		else
			finish(r, LODGE_EXIT_RESET);
		break;
	case MACHINE_PANIC:
		on_panic(r);
		break;
	case MACHINE_LOST:
		log_error("guest %s is lost: %s", r->o->name, why);
		finish(r, LODGE_EXIT_LOST);
		break;
	case MACHINE_FAILED:
		log_error("guest %s is lost: %s; try: `lodge doctor`, dmesg", r->o->name, why);
		finish(r, LODGE_EXIT_HYPERVISOR);
		break;
	}
}

static void on_reset(void *ctx)
{
	struct run *r = ctx;

	devices_reset(r->devices);
}

static void unblock(void *ctx, bool on)
{
	struct run *r = ctx;

	if (r->console)
		console_abort(r->console, on);
	if (r->exec)
		exec_abort(r->exec, on);
}

/* A disk holds what failed on the host: the guest waits with it. */
static void on_disk_stop(void *ctx, const char *why)
{
	struct run *r = ctx;

	machine_pause(r->machine);
	log_error("guest %s is paused: %s; try: mend that, then lodge resume %s", r->o->name, why, r->o->name);
}

static void disk_quiesce(void *ctx, bool on)
{
	struct run *r = ctx;
	struct err e = ERR_INIT;

	if (on) {
		r->was_running = machine_state(r->machine) == MACHINE_RUNNING;
		machine_pause(r->machine);
	} else if (r->was_running && machine_start(r->machine, &e) < 0) {
		log_error("guest %s cannot go on: %s", r->o->name, e.msg);
		finish(r, LODGE_EXIT_FAILURE);
	}
}

static const struct disks_ops disk_ops = { on_disk_stop, disk_quiesce };

static void on_timeout(void *ctx)
{
	struct run *r = ctx;

	log_error("guest %s ended after %llu seconds (--timeout)", r->o->name,
		  (unsigned long long)r->o->timeout_s);
	finish(r, LODGE_EXIT_TIMEOUT);
}

static void update_size(struct run *r)
{
	unsigned int cols, rows;

	if (!terminal_size(STDOUT_FILENO, &cols, &rows))
		devices_console_size(r->devices, cols, rows);
}

static void on_signal(void *ctx, u32 events)
{
	struct signalfd_siginfo si;
	struct run *r = ctx;

	(void)events;
	if (read(r->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		update_size(r);
	else
		finish(r, LODGE_EXIT_KILLED);
}

/* ---- console ---- */

static size_t con_input(void *ctx, const void *data, size_t len)
{
	struct run *r = ctx;

	if (r->exec)
		return exec_stdin(r->exec, data, len);
	return devices_console_input(r->devices, data, len);
}

static void con_key(void *ctx, enum console_key key)
{
	struct run *r = ctx;

	switch (key) {
	case CONSOLE_KEY_QUIT:
		finish(r, LODGE_EXIT_KILLED);
		break;
	case CONSOLE_KEY_POWER:
		machine_press_power(r->machine);
		break;
	case CONSOLE_KEY_BREAK:
		devices_console_break(r->devices);
	}
}

static void con_panic(void *ctx, bool ended)
{
	struct run *r = ctx;

	__atomic_store_n(&r->panicking, true, __ATOMIC_RELAXED);
	if (ended && r->machine)
		machine_report(r->machine, MACHINE_PANIC, "");
}

static bool con_input_end(void *ctx)
{
	struct run *r = ctx;

	return !r->exec || exec_stdin_end(r->exec);
}

static void con_drained(void *ctx)
{
	struct run *r = ctx;

	devices_console_drained(r->devices);
}

static const struct console_ops con_ops = {
	.input = con_input,
	.key = con_key,
	.panic = con_panic,
	.input_end = con_input_end,
	.drained = con_drained,
};

/* ---- control socket ---- */

static void ctl_kill(void *ctx)
{
	finish(ctx, LODGE_EXIT_KILLED);
}

static const struct control_ops ctl_ops = { ctl_kill };

/* ---- setting up ---- */

static int open_file(const char *path, const char *what, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set(e, errno, "cannot open %s: %s: %s", what, path, strerror(errno));
	return fd;
}

static char *build_cmdline(const struct run_options *o)
{
	const char *root = "", *init = "";
	char *s = NULL;
	int n;

	if (o->bare_cmdline)
		return strdup(o->append);
	if (o->disks && !o->command && !strstr(o->append, "root="))
		root = " root=/dev/vda rw";
	if (o->command)
		init = " rdinit=" EXEC_INIT_PATH;
	n = asprintf(&s, "console=ttyS0%s panic=-1%s%s%s%s",
		     !strcmp(o->console, "hvc0") ? " console=hvc0" : "", root, init,
		     *o->append ? " " : "", o->append);
	return n < 0 ? NULL : s;
}

static int prepare_files(struct run *r, struct err *e)
{
	struct run_options *o = r->o;
	int ret;

	ret = run_find_kernel(o, e);
	if (ret < 0)
		return ret;
	r->kernel_fd = open_file(o->kernel, "kernel", e);
	if (r->kernel_fd < 0)
		return r->kernel_fd;
	if (o->initrd) {
		r->initrd_fd = open_file(o->initrd, "initrd", e);
		if (r->initrd_fd < 0)
			return r->initrd_fd;
	}
	r->cmdline = build_cmdline(o);
	if (!r->cmdline)
		return err_set(e, ENOMEM, "no memory for the kernel command line");
	if (o->command) {
		r->exec = exec_create(o, r->kernel_fd, e);
		if (!r->exec)
			return -EINVAL;
	}
	return 0;
}

static int prepare_signals(struct run *r, struct err *e)
{
	sigset_t set;
	int ret;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	ret = loop_add(r->loop, &r->signal_src, r->signal_fd, EPOLLIN, on_signal, r);
	if (!ret)
		ret = vcpu_install_kick();
	return ret ? err_set(e, -ret, "cannot handle signals: %s", strerror(-ret)) : 0;
}

static int prepare_machine(struct run *r, struct err *e)
{
	struct run_options *o = r->o;
	struct machine_config cfg = {
		.mem = o->mem,
		.share = o->share,
		.share_group = o->share_group,
		.cpus = o->cpus,
		.legacy_timer = o->pit,
		.boot = {
			.kernel_fd = r->kernel_fd,
			.kernel_path = o->kernel,
			.initrd_fd = r->initrd_fd,
			.initrd_path = o->initrd,
			.cmdline = r->cmdline,
		},
		.event = on_machine_event,
		.unblock = unblock,
		.ctx = r,
	};
	struct scan_config scan = { o->share_scan, SCAN_FIRST_MS, SCAN_PASS_MS, scan_by_module };

	if (r->exec)
		exec_archive(r->exec, &cfg.boot.extra, &cfg.boot.extra_len);
	r->machine = machine_create(&r->kvm, r->loop, &cfg, e);
	if (!r->machine)
		return -EIO;
	machine_on_reset(r->machine, on_reset, r);
	r->devices = devices_create(machine_board(r->machine), o, exec_output, r->exec, e);
	if (!r->devices)
		return -EIO;
	disks_set_ops(devices_disks(r->devices), &disk_ops, r);
	if (o->share && o->share_scan) {
		r->scan = scan_create(machine_board(r->machine)->mem, &scan, e);
		if (!r->scan)
			return -EIO;
	}
	if (r->exec && exec_connect(r->exec, r->devices, r->loop, e) < 0)
		return -EIO;
	return machine_load(r->machine, e);
}

static int prepare_outside(struct run *r, struct err *e)
{
	struct run_options *o = r->o;
	struct control_config cc = { o->name, o->device, o->kernel, o->mem, o->cpus };
	struct console_config con = { !o->no_stdin, !r->exec, r->exec ? -1 : STDOUT_FILENO };
	bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

	if (r->exec && loop_timer_init(r->loop, &r->drain, on_drain, r) < 0)
		return err_set(e, errno, "cannot make a timer");
	if (o->timeout_s) {
		if (loop_timer_init(r->loop, &r->timeout, on_timeout, r) < 0)
			return err_set(e, errno, "cannot make a timer");
		loop_timer_arm(&r->timeout, o->timeout_s * 1000000000ULL, 0);
	}
	if (!o->quiet && !r->exec)
		plan_print_line(o, r->cmdline);
	if (!o->quiet && !r->exec && tty)
		fprintf(stderr, "# %s\n", console_hint);
	r->console = console_create(r->loop, &con, &con_ops, r, e);
	if (!r->console)
		return -EIO;
	devices_set_console(r->devices, r->console);
	update_size(r);
	r->control = control_create(r->loop, r->machine, r->console, r->devices, &cc, &ctl_ops, r,
				    e);
	return r->control ? 0 : -EIO;
}

static void teardown(struct run *r)
{
	if (r->machine)
		machine_pause(r->machine);
	control_destroy(r->control);
	if (r->devices)
		devices_set_console(r->devices, NULL);
	console_destroy(r->console);
	r->console = NULL;
	if (r->exec)
		exec_disconnect(r->exec);
	if (r->devices)
		disks_jobs_end(devices_disks(r->devices));
	scan_destroy(r->scan);
	machine_destroy(r->machine);
	devices_destroy(r->devices);
	exec_destroy(r->exec);
	if (r->loop) {
		loop_timer_fini(r->loop, &r->timeout);
		loop_timer_fini(r->loop, &r->drain);
		loop_del(r->loop, &r->signal_src);
	}
	loop_destroy(r->loop);
	kvm_close(&r->kvm);
	if (r->lock_fd >= 0)
		rundir_release(r->o->name, r->lock_fd);
	if (r->kernel_fd >= 0)
		close(r->kernel_fd);
	if (r->initrd_fd >= 0)
		close(r->initrd_fd);
	if (r->signal_fd >= 0)
		close(r->signal_fd);
	free(r->cmdline);
}

static int device_exit_code(const struct err *e)
{
	return e->code == EACCES || e->code == EPERM ? LODGE_EXIT_PERMISSION :
						       LODGE_EXIT_NO_DEVICE;
}

/* Returns the exit code of whatever failed, or 0. */
static int prepare(struct run *r, struct err *e)
{
	if (prepare_files(r, e) < 0)
		return LODGE_EXIT_CONFIG;
	if (r->o->dry_run)
		return devices_check(r->o, e) < 0 ? LODGE_EXIT_CONFIG : 0;
	if (kvm_open(&r->kvm, r->o->device, e) < 0)
		return device_exit_code(e);
	r->lock_fd = rundir_claim(r->o->name, e);
	if (r->lock_fd < 0)
		return LODGE_EXIT_CONFIG;
	r->loop = loop_create();
	if (!r->loop || prepare_signals(r, e) < 0)
		return LODGE_EXIT_FAILURE;
	confine_set_mode(r->o->seccomp);
	if (prepare_machine(r, e) < 0)
		return e->code == EBUSY && !r->machine ? LODGE_EXIT_NO_DEVICE : LODGE_EXIT_CONFIG;
	if (prepare_outside(r, e) < 0)
		return LODGE_EXIT_FAILURE;
	return 0;
}

/* The command's status, or ours above its range. */
static int exit_code(const struct run *r)
{
	int status;

	if (!r->o->command)
		return r->code;
	status = r->exec ? exec_status(r->exec) : -1;
	if (r->code == LODGE_EXIT_OFF && status >= 0)
		return status;
	return LODGE_EXIT_OWN_BASE + (r->code ? r->code : LODGE_EXIT_COMMAND);
}

int run_guest(struct run_options *o)
{
	struct run r = {
		.o = o,
		.kvm = { .dev = -1, .vm = -1 },
		.kernel_fd = -1,
		.initrd_fd = -1,
		.lock_fd = -1,
		.signal_fd = -1,
	};
	struct err e = ERR_INIT;
	int code;

	code = prepare(&r, &e);
	if (!code && o->dry_run) {
		if (o->json)
			plan_print_json(o, r.cmdline);
		else
			plan_print_line(o, r.cmdline);
		teardown(&r);
		return LODGE_EXIT_OFF;
	}
	if (!code && (machine_start(r.machine, &e) < 0 || confine_enter(THREAD_CONTROL) < 0))
		code = LODGE_EXIT_FAILURE;
	if (code) {
		r.code = code;
		r.decided = true;
	} else {
		code = loop_run(r.loop);
		if (code < 0)
			finish(&r, LODGE_EXIT_FAILURE);
	}
	code = exit_code(&r);
	teardown(&r);
	if (e.code)
		log_error("%s", e.msg);
	return code;
}
