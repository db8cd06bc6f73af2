// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The emulator's ops on plain arrays.
 */
#include <string.h>

#include "machine.h"

static struct machine *machine_of(struct emul_ctxt *ctxt)
{
	return ctxt->opaque;
}

/* With fault_seed set: now and then an op fails, as a hostile or unlucky guest makes it. */
static int chance(struct emul_ctxt *ctxt)
{
	struct machine *m = machine_of(ctxt);

	if (!m->fault_seed)
		return EMUL_OK;
	m->fault_seed = m->fault_seed * 6364136223846793005ull + 1442695040888963407ull;
	switch (m->fault_seed >> 58) {
	case 0:
		return emul_page_fault(ctxt, m->fault_seed, 4);
	case 1:
		return EMUL_IO_NEEDED;
	case 2:
		return EMUL_RETRY;
	case 3:
		return EMUL_UNHANDLED;
	}
	return EMUL_OK;
}

static u8 *find(struct machine *m, u64 linear, unsigned int n, bool write, bool system)
{
	unsigned int i;

	for (i = 0; i < MACHINE_WINDOWS; i++) {
		struct machine_window *w = &m->window[i];

		if (linear < w->base || n > w->size || linear - w->base > w->size - n)
			continue;
		if ((write && w->read_only) || (!system && w->system_only))
			return NULL;
		return w->mem + (linear - w->base);
	}
	return NULL;
}

static bool on_device(const struct machine *m, u64 linear, unsigned int n)
{
	return m->device_size && linear >= m->device_base && linear + n <= m->device_base + m->device_size;
}

/* The address of the first byte that is not there. */
static int miss(struct emul_ctxt *ctxt, u64 linear, unsigned int n, unsigned int flags)
{
	struct machine *m = machine_of(ctxt);
	bool write = flags & EMUL_ACC_WRITE, system = flags & EMUL_ACC_SYSTEM || ctxt->cpl < 3;
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!find(m, linear + i, 1, write, system))
			break;
	}
	return emul_page_fault(ctxt, linear + i, (write ? 2 : 0) | (system ? 0 : 4) | (flags & EMUL_ACC_FETCH ? 16 : 0));
}

static int op_fetch(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n, unsigned int *got)
{
	struct machine *m = machine_of(ctxt);
	u8 *p = find(m, linear, n, false, ctxt->cpl < 3);
	int r = chance(ctxt);

	if (r)
		return r;
	while (!p && n > 1)
		p = find(m, linear, --n, false, ctxt->cpl < 3);
	if (!p)
		return miss(ctxt, linear, 1, EMUL_ACC_FETCH);
	memcpy(buf, p, n);
	*got = n;
	return EMUL_OK;
}

static u64 device_value(u64 linear)
{
	return linear * 0x9e3779b97f4a7c15ull;
}

static int device_read(struct machine *m, u64 linear, void *buf, unsigned int n)
{
	u64 value[64];
	unsigned int i;

	for (i = 0; i < m->cached; i++) {
		if (m->cache[i].address == linear && m->cache[i].n == n)
			break;
	}
	if (i == m->cached && m->late) {
		m->pending = true;
		m->want = (struct machine_io){ .address = linear, .n = n };
		return EMUL_IO_NEEDED;
	}
	if (n > sizeof(value))
		return EMUL_UNHANDLED;
	for (i = 0; i < 64; i++)
		value[i] = device_value(linear + 8 * i);
	memcpy(buf, value, n);
	return EMUL_OK;
}

static int op_read(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n, unsigned int flags)
{
	struct machine *m = machine_of(ctxt);
	u8 *p = find(m, linear, n, flags & EMUL_ACC_WRITE, flags & EMUL_ACC_SYSTEM || ctxt->cpl < 3);
	int r = chance(ctxt);

	if (r)
		return r;
	m->reads++;
	if (on_device(m, linear, n))
		return device_read(m, linear, buf, n);
	if (!p)
		return miss(ctxt, linear, n, flags);
	memcpy(buf, p, n);
	return EMUL_OK;
}

static int op_write(struct emul_ctxt *ctxt, u64 linear, const void *buf, unsigned int n, unsigned int flags)
{
	struct machine *m = machine_of(ctxt);
	u8 *p = find(m, linear, n, true, flags & EMUL_ACC_SYSTEM || ctxt->cpl < 3);
	struct machine_io *io;
	int r = chance(ctxt);

	if (r)
		return r;
	if (on_device(m, linear, n)) {
		io = &m->write_log[m->writes++ % MACHINE_LOG];
		*io = (struct machine_io){ .address = linear, .n = n };
		memcpy(&io->data, buf, n < 8 ? n : 8);
		return EMUL_OK;
	}
	if (!p)
		return miss(ctxt, linear, n, flags | EMUL_ACC_WRITE);
	memcpy(p, buf, n);
	return EMUL_OK;
}

static int op_cmpxchg(struct emul_ctxt *ctxt, u64 linear, const void *old, const void *new, unsigned int n, unsigned int flags)
{
	struct machine *m = machine_of(ctxt);
	u8 *p = find(m, linear, n, true, flags & EMUL_ACC_SYSTEM || ctxt->cpl < 3);
	int r = chance(ctxt);

	if (r)
		return r;
	if (on_device(m, linear, n))
		return op_write(ctxt, linear, new, n, flags);
	if (!p)
		return miss(ctxt, linear, n, flags | EMUL_ACC_WRITE);
	if (memcmp(p, old, n))
		return EMUL_RETRY;
	memcpy(p, new, n);
	return EMUL_OK;
}

static int op_probe(struct emul_ctxt *ctxt, u64 linear, unsigned int n, unsigned int flags)
{
	struct machine *m = machine_of(ctxt);
	int r = chance(ctxt);

	if (r)
		return r;
	if (on_device(m, linear, n))
		return EMUL_IO_NEEDED;
	if (!find(m, linear, n, flags & EMUL_ACC_WRITE, ctxt->cpl < 3))
		return miss(ctxt, linear, n, flags);
	return EMUL_OK;
}

static void op_commit(struct emul_ctxt *ctxt)
{
	struct machine *m = machine_of(ctxt);

	m->cached = 0;
	m->port_ready = false;
	m->commits++;
}

static int op_pio_in(struct emul_ctxt *ctxt, u16 port, unsigned int size, void *buf, unsigned int count)
{
	struct machine *m = machine_of(ctxt);
	unsigned int i;
	int r = chance(ctxt);

	if (r)
		return r;
	if (m->late && !m->port_ready) {
		m->pending = true;
		m->want = (struct machine_io){ .address = ~0ull };
		return EMUL_IO_NEEDED;
	}
	for (i = 0; i < size * count; i++)
		((u8 *)buf)[i] = port * 3 + i;
	return EMUL_OK;
}

static int op_pio_out(struct emul_ctxt *ctxt, u16 port, unsigned int size, const void *buf, unsigned int count)
{
	struct machine *m = machine_of(ctxt);
	struct machine_io *io;
	unsigned int i;
	int r = chance(ctxt);

	for (i = 0; i < count && !r; i++) {
		io = &m->port_log[m->port_writes++ % MACHINE_LOG];
		*io = (struct machine_io){ .address = port, .n = size };
		memcpy(&io->data, (const u8 *)buf + i * size, size);
	}
	return r;
}

static void op_get_seg(struct emul_ctxt *ctxt, enum emul_sreg nr, struct emul_seg *seg)
{
	*seg = machine_of(ctxt)->seg[nr];
}

static void op_set_seg(struct emul_ctxt *ctxt, enum emul_sreg nr, const struct emul_seg *seg)
{
	machine_of(ctxt)->seg[nr] = *seg;
}

static void op_get_gdt(struct emul_ctxt *ctxt, struct emul_dt *dt)
{
	*dt = machine_of(ctxt)->gdt;
}

static void op_get_idt(struct emul_ctxt *ctxt, struct emul_dt *dt)
{
	*dt = machine_of(ctxt)->idt;
}

static void op_set_gdt(struct emul_ctxt *ctxt, const struct emul_dt *dt)
{
	machine_of(ctxt)->gdt = *dt;
}

static void op_set_idt(struct emul_ctxt *ctxt, const struct emul_dt *dt)
{
	machine_of(ctxt)->idt = *dt;
}

static u64 op_get_cr(struct emul_ctxt *ctxt, unsigned int nr)
{
	struct machine *m = machine_of(ctxt);

	if (nr == EMUL_EFER)
		return m->efer;
	if (nr == EMUL_XCR0)
		return m->xcr0;
	return nr < 9 ? m->cr[nr] : 0;
}

static int op_set_cr(struct emul_ctxt *ctxt, unsigned int nr, u64 value)
{
	int r = chance(ctxt);

	if (r)
		return r;
	if (nr > 8 || (nr == 4 && value >> 32))
		return emul_fault_error(ctxt, EMUL_EXC_GP, 0);
	machine_of(ctxt)->cr[nr] = value;
	return EMUL_OK;
}

static u64 op_get_dr(struct emul_ctxt *ctxt, unsigned int nr)
{
	return machine_of(ctxt)->dr[nr & 7];
}

static int op_set_dr(struct emul_ctxt *ctxt, unsigned int nr, u64 value)
{
	machine_of(ctxt)->dr[nr & 7] = value;
	return chance(ctxt);
}

static int op_get_msr(struct emul_ctxt *ctxt, u32 index, u64 *value)
{
	struct machine *m = machine_of(ctxt);
	int r = chance(ctxt);

	if (r)
		return r;
	if (index == 0xdead)
		return emul_fault_error(ctxt, EMUL_EXC_GP, 0);
	*value = index == 0x10 ? m->msr_tsc : m->msr_other;
	return EMUL_OK;
}

static int op_set_msr(struct emul_ctxt *ctxt, u32 index, u64 value)
{
	if (index == 0xdead)
		return emul_fault_error(ctxt, EMUL_EXC_GP, 0);
	machine_of(ctxt)->msr_other = value;
	return chance(ctxt);
}

static int op_set_xcr0(struct emul_ctxt *ctxt, u64 value)
{
	machine_of(ctxt)->xcr0 = value;
	return chance(ctxt);
}

static bool op_has(struct emul_ctxt *ctxt, enum emul_feature feature)
{
	return !(machine_of(ctxt)->lacks >> feature & 1);
}

static void op_cpuid(struct emul_ctxt *ctxt, u32 regs[4])
{
	(void)ctxt;
	regs[1] = regs[0] + 1;
	regs[3] = regs[2] + 2;
	regs[0] ^= 0x11111111;
	regs[2] ^= 0x22222222;
}

static int op_hlt(struct emul_ctxt *ctxt)
{
	machine_of(ctxt)->hlts++;
	return chance(ctxt);
}

static int op_invlpg(struct emul_ctxt *ctxt, u64 linear)
{
	(void)linear;
	machine_of(ctxt)->invlpgs++;
	return chance(ctxt);
}

static void op_get_vec(struct emul_ctxt *ctxt, unsigned int nr, struct emul_vec *vec)
{
	*vec = machine_of(ctxt)->vec[nr & 31];
}

static void op_set_vec(struct emul_ctxt *ctxt, unsigned int nr, const struct emul_vec *vec, unsigned int n)
{
	memcpy(&machine_of(ctxt)->vec[nr & 31], vec, n);
}

static void op_get_mmx(struct emul_ctxt *ctxt, unsigned int nr, u64 *value)
{
	*value = machine_of(ctxt)->mmx[nr];
}

static void op_set_mmx(struct emul_ctxt *ctxt, unsigned int nr, u64 value)
{
	machine_of(ctxt)->mmx[nr] = value;
}

static int op_fpu(struct emul_ctxt *ctxt, enum emul_fpu what, u16 *word)
{
	struct machine *m = machine_of(ctxt);

	switch (what) {
	case EMUL_FPU_GET_CW:
		*word = m->fcw;
		break;
	case EMUL_FPU_GET_SW:
		*word = m->fsw;
		break;
	case EMUL_FPU_SET_CW:
		m->fcw = *word;
		break;
	case EMUL_FPU_INIT:
		m->fcw = 0x37f;
		m->fsw = 0;
		break;
	case EMUL_FPU_CLEAR_EXC:
		m->fsw &= 0x7f00;
		break;
	}
	return EMUL_OK;
}

const struct emul_ops machine_ops = {
	.fetch = op_fetch, .read = op_read, .write = op_write, .cmpxchg = op_cmpxchg, .probe = op_probe, .commit = op_commit,
	.pio_in = op_pio_in, .pio_out = op_pio_out,
	.get_seg = op_get_seg, .set_seg = op_set_seg,
	.get_gdt = op_get_gdt, .set_gdt = op_set_gdt, .get_idt = op_get_idt, .set_idt = op_set_idt,
	.get_cr = op_get_cr, .set_cr = op_set_cr, .get_dr = op_get_dr, .set_dr = op_set_dr,
	.get_msr = op_get_msr, .set_msr = op_set_msr, .set_xcr0 = op_set_xcr0,
	.has = op_has, .cpuid = op_cpuid, .hlt = op_hlt, .invlpg = op_invlpg,
	.get_vec = op_get_vec, .set_vec = op_set_vec, .get_mmx = op_get_mmx, .set_mmx = op_set_mmx, .fpu = op_fpu,
};

void machine_init(struct machine *m, enum emul_mode mode)
{
	bool real = mode == EMUL_REAL || mode == EMUL_VM86;
	u16 big = mode == EMUL_PROT32 ? EMUL_SEG_DB | EMUL_SEG_G : 0;
	unsigned int i;

	memset(m, 0, sizeof(*m));
	for (i = EMUL_ES; i <= EMUL_GS; i++) {
		m->seg[i].limit = real || mode == EMUL_PROT16 ? 0xffff : 0xffffffff;
		m->seg[i].attr = 0x93 | big;
		m->seg[i].selector = real ? 0 : 0x10;
	}
	m->seg[EMUL_CS].attr = mode == EMUL_LONG64 ? 0x9b | EMUL_SEG_L | EMUL_SEG_G : 0x9b | big;
	m->seg[EMUL_CS].selector = real ? 0 : 0x08;
	m->cr[0] = 0x10 | (mode != EMUL_REAL);
	m->cr[4] = 1 << 9 | 1 << 18;
	m->efer = mode == EMUL_LONG64 ? 0x500 : 0;
	m->xcr0 = 7;
	m->fcw = 0x37f;
}

void machine_start(struct machine *m, struct emul_ctxt *ctxt, enum emul_mode mode)
{
	memset(ctxt, 0, sizeof(*ctxt));
	ctxt->ops = &machine_ops;
	ctxt->opaque = m;
	ctxt->mode = mode;
	ctxt->rflags = 2;
	ctxt->cpl = mode == EMUL_VM86 ? 3 : 0;
}

/* What user space does between two attempts. */
static void complete(struct machine *m)
{
	m->pending = false;
	if (m->want.address == ~0ull)
		m->port_ready = true;
	else if (m->cached < 16)
		m->cache[m->cached++] = m->want;
}

int machine_run(struct machine *m, struct emul_ctxt *ctxt, unsigned int *attempts)
{
	unsigned int n;
	int r = EMUL_RETRY;

	for (n = 0; n < 100000; n++) {
		ctxt->insn_bytes = 0;
		ctxt->regs_dirty = 0;
		r = emul_insn(ctxt);
		if (r == EMUL_IO_NEEDED && m->pending) {
			complete(m);
			continue;
		}
		m->cached = 0;
		m->port_ready = false;
		if (r != EMUL_OK || !ctxt->repeat)
			break;
	}
	if (attempts)
		*attempts = n + 1;
	return r;
}
