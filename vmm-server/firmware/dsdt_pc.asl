/*
 * The DSDT of the board `pc`: dsdt_pc.h is this file, compiled by `tools/dsdt.py`. PMIN and PLEN are put right for each
 * machine by acpi_pc.c; they and HAVE are written so large that they take four bytes.
 */
DefinitionBlock ("", "DSDT", 2, "SEPTUM", "SEPTUMVM", 1)
{
    /* PCI's memory below 4 GiB: where it begins, its size. */
    Name (PMIN, 0x80000000)
    Name (PLEN, 0x7EC00000)
    /* Bits 0-1: there are COM1 and COM2; bit 2: the floppy controller. */
    Name (HAVE, 0x80000000)

    /* Soft off is sleep type 0 of a PIIX4. */
    Name (_S5, Package (4) { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (CRES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                             0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                             0, 0x80000000, 0xFEBFFFFF, 0, 0x7EC00000, , , HOLE)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (CRES, \_SB.PCI0.HOLE._MIN, WMIN)
                CreateDWordField (CRES, \_SB.PCI0.HOLE._LEN, WLEN)
                WMIN = PMIN
                WLEN = PLEN
                Return (CRES)
            }

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRC, PCI_Config, 0x60, 4)
                Field (PIRC, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 8)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 1, 1)
                        IO (Decode16, 0x0064, 0x0064, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
                }
                Device (FDC0)
                {
                    Name (_HID, EisaId ("PNP0700"))
                    Method (_STA, 0) { If (HAVE & 4) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F2, 0x03F2, 0, 4)
                        IO (Decode16, 0x03F7, 0x03F7, 0, 1)
                        IRQNoFlags () { 6 }
                        DMA (Compatibility, NotBusMaster, Transfer8) { 2 }
                    })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Method (_STA, 0) { If (HAVE & 1) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0, 8)
                        IRQNoFlags () { 4 }
                    })
                }
                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 2)
                    Method (_STA, 0) { If (HAVE & 2) { Return (0x0F) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02F8, 0x02F8, 0, 8)
                        IRQNoFlags () { 3 }
                    })
                }
                /* QEMU's pvpanic, which Linux knows by this identifier. */
                Device (PANC)
                {
                    Name (_HID, "QEMU0001")
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0505, 0x0505, 1, 1) })
                }
            }
        }

        /* The PIIX3's four routes: a register each, bit 7 set: not routed. */
        Method (IQST, 1) { If (Arg0 & 0x80) { Return (0x09) } Return (0x0B) }
        Method (IQCR, 1, Serialized)
        {
            Name (BUF0, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , INTR) { 0 }
            })
            CreateDWordField (BUF0, INTR._INT, NUMB)
            If ((Arg0 & 0x80) == 0) { NUMB = Arg0 }
            Return (BUF0)
        }
        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } })
            Method (_STA, 0) { Return (IQST (\_SB.PCI0.ISA.PRQA)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQA |= 0x80 }
            Method (_CRS, 0) { Return (IQCR (\_SB.PCI0.ISA.PRQA)) }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, PRRI) \_SB.PCI0.ISA.PRQA = PRRI }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } })
            Method (_STA, 0) { Return (IQST (\_SB.PCI0.ISA.PRQB)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQB |= 0x80 }
            Method (_CRS, 0) { Return (IQCR (\_SB.PCI0.ISA.PRQB)) }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, PRRI) \_SB.PCI0.ISA.PRQB = PRRI }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } })
            Method (_STA, 0) { Return (IQST (\_SB.PCI0.ISA.PRQC)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQC |= 0x80 }
            Method (_CRS, 0) { Return (IQCR (\_SB.PCI0.ISA.PRQC)) }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, PRRI) \_SB.PCI0.ISA.PRQC = PRRI }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } })
            Method (_STA, 0) { Return (IQST (\_SB.PCI0.ISA.PRQD)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQD |= 0x80 }
            Method (_CRS, 0) { Return (IQCR (\_SB.PCI0.ISA.PRQD)) }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, PRRI) \_SB.PCI0.ISA.PRQD = PRRI }
        }
        /* The SCI is wired, and no route changes it: slot 1, INTA, the power management function. */
        Device (LNKS)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 9 } })
            Method (_STA, 0) { Return (0x0B) }
            Method (_DIS, 0) { }
            Method (_CRS, 0) { Return (_PRS) }
            Method (_SRS, 1) { }
        }
    }

    Scope (\_SB.PCI0)
    {
        /* Slot n, pin p (0 is INTA) is on route (n + p - 1) mod 4. */
        Method (_PRT, 0, Serialized)
        {
            Name (ROUT, Package (128) {})
            Local0 = 0
            While (Local0 < 128)
            {
                Local1 = Local0 >> 2
                Local2 = (Local0 + Local1 - 1) & 3
                If (Local0 == 4) { Local3 = Package (4) { 0, 0, LNKS, 0 } }
                ElseIf (Local2 == 0) { Local3 = Package (4) { 0, 0, LNKA, 0 } }
                ElseIf (Local2 == 1) { Local3 = Package (4) { 0, 0, LNKB, 0 } }
                ElseIf (Local2 == 2) { Local3 = Package (4) { 0, 0, LNKC, 0 } }
                Else { Local3 = Package (4) { 0, 0, LNKD, 0 } }
                Local3 [0] = (Local1 << 16) | 0xFFFF
                Local3 [1] = Local0 & 3
                ROUT [Local0] = Local3
                Local0++
            }
            Return (ROUT)
        }
    }
}
