// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ACPI tables (ACPI 6.4 chapter 5).
 *
 * The machine is hardware-reduced: no PM timer, no SMI port, no fixed events; sleep and reset
 * are byte registers of dev/power.c and the power button is a generic event device. That spares
 * the guest the legacy timer and PIC set-up. DSDT comes from dsdt.asl as compiled at build time.
 * All tables lie in the reserved range below 1 MiB, the RSDP first, where a scan would find it.
 */
#include "board/acpi.h"

#include <errno.h>

#include "board/pci.h"
#include "dsdt.h"

#define FADT_FLAG_WBINVD (1 << 0)
#define FADT_FLAG_PWR_BUTTON_NONE (1 << 4)
#define FADT_FLAG_SLP_BUTTON_NONE (1 << 5)
#define FADT_FLAG_RESET_REG (1 << 10)
#define FADT_FLAG_HEADLESS (1 << 12)
#define FADT_FLAG_HW_REDUCED (1 << 20)
#define BOOT_NO_VGA (1 << 2)
#define BOOT_LEGACY_DEVICES (1 << 0)
#define GAS_IO 1

/* Register addresses of dev/power.c. */
#define SLEEP_CONTROL_PORT 0x600
#define SLEEP_STATUS_PORT 0x601
#define RESET_PORT 0x602
#define RESET_VALUE 0x42

/* The last 16 bytes are the reset vector. */
#define TABLES_SIZE (ACPI_SIZE - 16)

#define LAPIC_BASE 0xfee00000
#define IOAPIC_BASE 0xfec00000

struct gas {
	u8 space, bits, offset, access;
	u64 addr;
} __attribute__((packed));

struct sdt {
	char sig[4];
	u32 len;
	u8 rev, sum;
	char oem[6], table[8];
	u32 oem_rev;
	char creator[4];
	u32 creator_rev;
} __attribute__((packed));

struct rsdp {
	char sig[8];
	u8 sum;
	char oem[6];
	u8 rev;
	u32 rsdt;
	u32 len;
	u64 xsdt;
	u8 ext_sum, pad[3];
} __attribute__((packed));

struct fadt {
	struct sdt h;
	u32 facs, dsdt;
	u8 model, profile;
	u16 sci;
	u32 smi_cmd;
	u8 acpi_on, acpi_off, s4bios, pstate;
	u32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst;
	u16 c2_lat, c3_lat, flush_size, flush_stride;
	u8 duty_off, duty_width, day_alarm, month_alarm, century;
	u16 boot_flags;
	u8 pad;
	u32 flags;
	struct gas reset;
	u8 reset_value;
	u16 arm_flags;
	u8 minor;
	u64 x_facs, x_dsdt;
	struct gas x_regs[8];
	struct gas sleep_control, sleep_status;
	u64 hypervisor;
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6 has 276 bytes");

struct madt {
	struct sdt h;
	u32 lapic;
	u32 flags;
} __attribute__((packed));

struct madt_lapic {
	u8 type, len, uid, id;
	u32 flags;
} __attribute__((packed));

struct madt_ioapic {
	u8 type, len, id, pad;
	u32 addr, base;
} __attribute__((packed));

struct madt_nmi {
	u8 type, len, uid;
	u16 flags;
	u8 lint;
} __attribute__((packed));

struct mcfg {
	struct sdt h;
	u64 pad;
	u64 base;
	u16 segment;
	u8 first, last;
	u32 pad2;
} __attribute__((packed));

struct arena {
	u8 *p;
	u32 used;
};

static u8 sum(const void *p, u32 len)
{
	const u8 *b = p;
	u8 s = 0;

	while (len--)
		s -= *b++;
	return s;
}

static void *take(struct arena *a, u32 len, u64 *gpa)
{
	void *p;

	a->used = ALIGN_UP(a->used, 16);
	if (len > TABLES_SIZE - a->used)
		return NULL;
	p = a->p + a->used;
	*gpa = ACPI_BASE + a->used;
	a->used += len;
	return p;
}

static void sdt_head(struct sdt *h, const char *sig, u8 rev, u32 len)
{
	memcpy(h->sig, sig, 4);
	h->len = len;
	h->rev = rev;
	memcpy(h->oem, "LODGE ", 6);
	memcpy(h->table, "LODGEBRD", 8);
	h->oem_rev = 1;
	memcpy(h->creator, "LODG", 4);
	h->creator_rev = 1;
}

static void sdt_seal(struct sdt *h)
{
	h->sum = 0;
	h->sum = sum(h, h->len);
}

static struct gas io_byte(u16 port)
{
	return (struct gas){ GAS_IO, 8, 0, 1, port };
}

static u64 put_fadt(struct arena *a, const struct acpi_config *cfg, u64 dsdt)
{
	struct fadt *f;
	u64 gpa;

	f = take(a, sizeof(*f), &gpa);
	if (!f)
		return 0;
	sdt_head(&f->h, "FACP", 6, sizeof(*f));
	f->dsdt = dsdt;
	f->x_dsdt = dsdt;
	f->boot_flags = BOOT_NO_VGA | (cfg->legacy_chips ? BOOT_LEGACY_DEVICES : 0);
	f->flags = FADT_FLAG_WBINVD | FADT_FLAG_PWR_BUTTON_NONE | FADT_FLAG_SLP_BUTTON_NONE |
		   FADT_FLAG_RESET_REG | FADT_FLAG_HEADLESS | FADT_FLAG_HW_REDUCED;
	f->reset = io_byte(RESET_PORT);
	f->reset_value = RESET_VALUE;
	f->minor = 4;
	f->sleep_control = io_byte(SLEEP_CONTROL_PORT);
	f->sleep_status = io_byte(SLEEP_STATUS_PORT);
	memcpy(&f->hypervisor, "LODGELDG", 8);
	sdt_seal(&f->h);
	return gpa;
}

static u64 put_madt(struct arena *a, const struct acpi_config *cfg)
{
	u32 len = sizeof(struct madt) + cfg->cpus * sizeof(struct madt_lapic) +
		  sizeof(struct madt_ioapic) + sizeof(struct madt_nmi);
	struct madt_ioapic *io;
	struct madt_lapic *l;
	struct madt_nmi *nmi;
	struct madt *m;
	unsigned int i;
	u64 gpa;

	m = take(a, len, &gpa);
	if (!m)
		return 0;
	sdt_head(&m->h, "APIC", 5, len);
	m->lapic = LAPIC_BASE;
	m->flags = cfg->legacy_chips ? 1 : 0;
	l = (void *)(m + 1);
	for (i = 0; i < cfg->cpus; i++)
		*l++ = (struct madt_lapic){ 0, sizeof(*l), i, i, 1 };
	io = (void *)l;
	*io++ = (struct madt_ioapic){ 1, sizeof(*io), 0, 0, IOAPIC_BASE, 0 };
	nmi = (void *)io;
	*nmi = (struct madt_nmi){ 4, sizeof(*nmi), 0xff, 0, 1 };
	sdt_seal(&m->h);
	return gpa;
}

static u64 put_mcfg(struct arena *a)
{
	struct mcfg *m;
	u64 gpa;

	m = take(a, sizeof(*m), &gpa);
	if (!m)
		return 0;
	sdt_head(&m->h, "MCFG", 1, sizeof(*m));
	m->base = PCI_ECAM_BASE;
	sdt_seal(&m->h);
	return gpa;
}

static u64 put_xsdt(struct arena *a, const u64 *tables, u32 count)
{
	u32 len = sizeof(struct sdt) + count * sizeof(u64);
	struct sdt *x;
	u64 gpa;

	x = take(a, len, &gpa);
	if (!x)
		return 0;
	sdt_head(x, "XSDT", 1, len);
	memcpy(x + 1, tables, count * sizeof(u64));
	sdt_seal(x);
	return gpa;
}

int acpi_write(struct guest_mem *mem, const struct acpi_config *cfg, u64 *rsdp, struct err *e)
{
	struct arena a = { mem_ptr(mem, ACPI_BASE, ACPI_SIZE), 0 };
	u64 tables[3], dsdt, xsdt;
	struct rsdp *r;
	void *p;

	if (!a.p)
		return err_set(e, EINVAL, "guest memory is too small for firmware tables");
	r = take(&a, sizeof(*r), rsdp);
	p = take(&a, dsdt_aml_len, &dsdt);
	if (!r || !p)
		goto full;
	memcpy(p, dsdt_aml, dsdt_aml_len);
	tables[0] = put_fadt(&a, cfg, dsdt);
	tables[1] = put_madt(&a, cfg);
	tables[2] = put_mcfg(&a);
	xsdt = put_xsdt(&a, tables, ARRAY_SIZE(tables));
	if (!tables[0] || !tables[1] || !tables[2] || !xsdt)
		goto full;
	memset(r, 0, sizeof(*r));
	memcpy(r->sig, "RSD PTR ", 8);
	memcpy(r->oem, "LODGE ", 6);
	r->rev = 2;
	r->len = sizeof(*r);
	r->xsdt = xsdt;
	r->sum = sum(r, 20);
	r->ext_sum = sum(r, sizeof(*r));
	return 0;
full:
	return err_set(e, ENOSPC, "firmware tables for %u CPUs do not fit", cfg->cpus);
}
