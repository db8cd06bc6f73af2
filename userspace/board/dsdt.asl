// SPDX-License-Identifier: GPL-2.0-or-later
// What cannot be probed on the board. The machine's memory map is fixed, so nothing in here is
// patched at run time: board/pci.h, dev/power.h, dev/serial.h and this file say the same numbers.
DefinitionBlock ("dsdt.aml", "DSDT", 2, "LODGE ", "LODGEBRD", 0x00000001)
{
	// Sleep type 5 is what the sleep control register calls power-off.
	Name (_S5, Package () { 5, 5, 0, 0 })

	Scope (_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_UID, 0)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
			})
			// INTA# of slot n goes to interrupt 16 + n % 8 of the IOAPIC (board/intx.c).
			Name (_PRT, Package ()
			{
				Package () { 0x0001FFFF, 0, 0, 17 },
				Package () { 0x0002FFFF, 0, 0, 18 },
				Package () { 0x0003FFFF, 0, 0, 19 },
				Package () { 0x0004FFFF, 0, 0, 20 },
				Package () { 0x0005FFFF, 0, 0, 21 },
				Package () { 0x0006FFFF, 0, 0, 22 },
				Package () { 0x0007FFFF, 0, 0, 23 },
				Package () { 0x0008FFFF, 0, 0, 16 },
				Package () { 0x0009FFFF, 0, 0, 17 },
				Package () { 0x000AFFFF, 0, 0, 18 },
				Package () { 0x000BFFFF, 0, 0, 19 },
				Package () { 0x000CFFFF, 0, 0, 20 },
				Package () { 0x000DFFFF, 0, 0, 21 },
				Package () { 0x000EFFFF, 0, 0, 22 },
				Package () { 0x000FFFFF, 0, 0, 23 },
				Package () { 0x0010FFFF, 0, 0, 16 },
				Package () { 0x0011FFFF, 0, 0, 17 },
				Package () { 0x0012FFFF, 0, 0, 18 },
				Package () { 0x0013FFFF, 0, 0, 19 },
				Package () { 0x0014FFFF, 0, 0, 20 },
				Package () { 0x0015FFFF, 0, 0, 21 },
				Package () { 0x0016FFFF, 0, 0, 22 },
				Package () { 0x0017FFFF, 0, 0, 23 },
				Package () { 0x0018FFFF, 0, 0, 16 },
				Package () { 0x0019FFFF, 0, 0, 17 },
				Package () { 0x001AFFFF, 0, 0, 18 },
				Package () { 0x001BFFFF, 0, 0, 19 },
				Package () { 0x001CFFFF, 0, 0, 20 },
				Package () { 0x001DFFFF, 0, 0, 21 },
				Package () { 0x001EFFFF, 0, 0, 22 },
				Package () { 0x001FFFFF, 0, 0, 23 },
			})
			// Devices come and go here (board/hotplug.h).
			OperationRegion (HPRG, SystemIO, 0x0610, 12)
			Field (HPRG, DWordAcc, NoLock, WriteAsZeros)
			{
				CHNG, 32,
				ASKD, 32,
				EJCT, 32
			}
			Device (S01)
			{
				Name (_ADR, 0x00010000)
				Name (_SUN, 1)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 1), EJCT) }
			}
			Device (S02)
			{
				Name (_ADR, 0x00020000)
				Name (_SUN, 2)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 2), EJCT) }
			}
			Device (S03)
			{
				Name (_ADR, 0x00030000)
				Name (_SUN, 3)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 3), EJCT) }
			}
			Device (S04)
			{
				Name (_ADR, 0x00040000)
				Name (_SUN, 4)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 4), EJCT) }
			}
			Device (S05)
			{
				Name (_ADR, 0x00050000)
				Name (_SUN, 5)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 5), EJCT) }
			}
			Device (S06)
			{
				Name (_ADR, 0x00060000)
				Name (_SUN, 6)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 6), EJCT) }
			}
			Device (S07)
			{
				Name (_ADR, 0x00070000)
				Name (_SUN, 7)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 7), EJCT) }
			}
			Device (S08)
			{
				Name (_ADR, 0x00080000)
				Name (_SUN, 8)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 8), EJCT) }
			}
			Device (S09)
			{
				Name (_ADR, 0x00090000)
				Name (_SUN, 9)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 9), EJCT) }
			}
			Device (S0A)
			{
				Name (_ADR, 0x000A0000)
				Name (_SUN, 10)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 10), EJCT) }
			}
			Device (S0B)
			{
				Name (_ADR, 0x000B0000)
				Name (_SUN, 11)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 11), EJCT) }
			}
			Device (S0C)
			{
				Name (_ADR, 0x000C0000)
				Name (_SUN, 12)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 12), EJCT) }
			}
			Device (S0D)
			{
				Name (_ADR, 0x000D0000)
				Name (_SUN, 13)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 13), EJCT) }
			}
			Device (S0E)
			{
				Name (_ADR, 0x000E0000)
				Name (_SUN, 14)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 14), EJCT) }
			}
			Device (S0F)
			{
				Name (_ADR, 0x000F0000)
				Name (_SUN, 15)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 15), EJCT) }
			}
			Device (S10)
			{
				Name (_ADR, 0x00100000)
				Name (_SUN, 16)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 16), EJCT) }
			}
			Device (S11)
			{
				Name (_ADR, 0x00110000)
				Name (_SUN, 17)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 17), EJCT) }
			}
			Device (S12)
			{
				Name (_ADR, 0x00120000)
				Name (_SUN, 18)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 18), EJCT) }
			}
			Device (S13)
			{
				Name (_ADR, 0x00130000)
				Name (_SUN, 19)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 19), EJCT) }
			}
			Device (S14)
			{
				Name (_ADR, 0x00140000)
				Name (_SUN, 20)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 20), EJCT) }
			}
			Device (S15)
			{
				Name (_ADR, 0x00150000)
				Name (_SUN, 21)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 21), EJCT) }
			}
			Device (S16)
			{
				Name (_ADR, 0x00160000)
				Name (_SUN, 22)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 22), EJCT) }
			}
			Device (S17)
			{
				Name (_ADR, 0x00170000)
				Name (_SUN, 23)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 23), EJCT) }
			}
			Device (S18)
			{
				Name (_ADR, 0x00180000)
				Name (_SUN, 24)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 24), EJCT) }
			}
			Device (S19)
			{
				Name (_ADR, 0x00190000)
				Name (_SUN, 25)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 25), EJCT) }
			}
			Device (S1A)
			{
				Name (_ADR, 0x001A0000)
				Name (_SUN, 26)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 26), EJCT) }
			}
			Device (S1B)
			{
				Name (_ADR, 0x001B0000)
				Name (_SUN, 27)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 27), EJCT) }
			}
			Device (S1C)
			{
				Name (_ADR, 0x001C0000)
				Name (_SUN, 28)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 28), EJCT) }
			}
			Device (S1D)
			{
				Name (_ADR, 0x001D0000)
				Name (_SUN, 29)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 29), EJCT) }
			}
			Device (S1E)
			{
				Name (_ADR, 0x001E0000)
				Name (_SUN, 30)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 30), EJCT) }
			}
			Device (S1F)
			{
				Name (_ADR, 0x001F0000)
				Name (_SUN, 31)
				Method (_EJ0, 1) { Store (ShiftLeft (1, 31), EJCT) }
			}
			Method (TELL, 2, NotSerialized)
			{
				If (And (Arg0, 0x00000002)) { Notify (S01, Arg1) }
				If (And (Arg0, 0x00000004)) { Notify (S02, Arg1) }
				If (And (Arg0, 0x00000008)) { Notify (S03, Arg1) }
				If (And (Arg0, 0x00000010)) { Notify (S04, Arg1) }
				If (And (Arg0, 0x00000020)) { Notify (S05, Arg1) }
				If (And (Arg0, 0x00000040)) { Notify (S06, Arg1) }
				If (And (Arg0, 0x00000080)) { Notify (S07, Arg1) }
				If (And (Arg0, 0x00000100)) { Notify (S08, Arg1) }
				If (And (Arg0, 0x00000200)) { Notify (S09, Arg1) }
				If (And (Arg0, 0x00000400)) { Notify (S0A, Arg1) }
				If (And (Arg0, 0x00000800)) { Notify (S0B, Arg1) }
				If (And (Arg0, 0x00001000)) { Notify (S0C, Arg1) }
				If (And (Arg0, 0x00002000)) { Notify (S0D, Arg1) }
				If (And (Arg0, 0x00004000)) { Notify (S0E, Arg1) }
				If (And (Arg0, 0x00008000)) { Notify (S0F, Arg1) }
				If (And (Arg0, 0x00010000)) { Notify (S10, Arg1) }
				If (And (Arg0, 0x00020000)) { Notify (S11, Arg1) }
				If (And (Arg0, 0x00040000)) { Notify (S12, Arg1) }
				If (And (Arg0, 0x00080000)) { Notify (S13, Arg1) }
				If (And (Arg0, 0x00100000)) { Notify (S14, Arg1) }
				If (And (Arg0, 0x00200000)) { Notify (S15, Arg1) }
				If (And (Arg0, 0x00400000)) { Notify (S16, Arg1) }
				If (And (Arg0, 0x00800000)) { Notify (S17, Arg1) }
				If (And (Arg0, 0x01000000)) { Notify (S18, Arg1) }
				If (And (Arg0, 0x02000000)) { Notify (S19, Arg1) }
				If (And (Arg0, 0x04000000)) { Notify (S1A, Arg1) }
				If (And (Arg0, 0x08000000)) { Notify (S1B, Arg1) }
				If (And (Arg0, 0x10000000)) { Notify (S1C, Arg1) }
				If (And (Arg0, 0x20000000)) { Notify (S1D, Arg1) }
				If (And (Arg0, 0x40000000)) { Notify (S1E, Arg1) }
				If (And (Arg0, 0x80000000)) { Notify (S1F, Arg1) }
			}
			// The operating system may use everything but hot-plug and PME.
			Method (_OSC, 4)
			{
				CreateDWordField (Arg3, 0, CDW1)
				If (LEqual (Arg0, ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")))
				{
					CreateDWordField (Arg3, 8, CDW3)
					And (CDW3, 0x10, CDW3)
				}
				Else
				{
					Or (CDW1, 4, CDW1)
				}
				Return (Arg3)
			}
		}

		// Configuration space, claimed so that nothing else is put there.
		Device (ECAM)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x03F8, 0x03F8, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
			})
		}

		Device (COM2)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 2)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x02F8, 0x02F8, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 3 }
			})
			// Ports without a UART read as ones; the scratch register tells.
			OperationRegion (UART, SystemIO, 0x02FF, 1)
			Field (UART, ByteAcc, NoLock, Preserve) { SCRT, 8 }
			Method (_STA, 0, Serialized)
			{
				Store (0x5A, SCRT)
				If (LEqual (SCRT, 0x5A)) { Return (0x0F) }
				Return (0)
			}
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0070, 0x0070, 1, 2)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 8 }
			})
		}

		// A guest that panics says so here.
		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_STA, 0x0F)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x0505, 0x0505, 1, 1)
			})
			OperationRegion (PEOR, SystemIO, 0x0505, 1)
			Field (PEOR, ByteAcc, NoLock, Preserve) { PEPT, 8 }
			Method (RDPT, 0, NotSerialized) { Return (PEPT) }
			Method (WRPT, 1, NotSerialized) { Store (Arg0, PEPT) }
		}

		Device (PWRB)
		{
			Name (_HID, EisaId ("PNP0C0C"))
			Name (_UID, 0)
		}

		// Events from outside: bit 0 is the power button. Reading clears.
		Device (GED0)
		{
			Name (_HID, "ACPI0013")
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 9 }
			})
			OperationRegion (EVRG, SystemIO, 0x0604, 1)
			Field (EVRG, ByteAcc, NoLock, Preserve) { EVNT, 8 }
			Method (_EVT, 1, Serialized)
			{
				Store (EVNT, Local0)
				If (And (Local0, 1)) { Notify (PWRB, 0x80) }
			}
		}

		// A PCI slot has changed, or is to be emptied.
		Device (GED1)
		{
			Name (_HID, "ACPI0013")
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 10 }
			})
			Method (_EVT, 1, Serialized)
			{
				\_SB.PCI0.TELL (\_SB.PCI0.CHNG, 1)
				\_SB.PCI0.TELL (\_SB.PCI0.ASKD, 3)
			}
		}
	}
}
