/* Where things are in a guest's physical address space, its ports and its IOAPIC: docs/vmm.md shows it. */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#define MIB (1ul << 20)
#define GIB (1ul << 30)

/* RAM: from 0 to here, and what is left from 4 GiB on. The page at the top of low memory is free for devices. */
#define LAYOUT_LOW_END   (3 * GIB)
#define LAYOUT_HIGH_BASE (4 * GIB)
/* On a `pc` low memory ends where PCI's begins, as its firmware expects. */
#define LAYOUT_PC_LOW_END 0xe0000000ul

/* Below 1 MiB, for a kernel that is booted directly: it may reuse all of this but the firmware tables. */
#define LAYOUT_GDT          0x6000u
#define LAYOUT_PAGE_TABLES  0x8000u /* 6 pages: an identity map of 4 GiB in pages of 2 MiB */
#define LAYOUT_BOOT_PARAMS  0x10000u
#define LAYOUT_COMMAND_LINE 0x20000u
#define LAYOUT_BASE_END     0xa0000u /* what follows is no RAM to an old PC's software: reserved */
#define LAYOUT_ACPI         0xe0000u
#define LAYOUT_ACPI_BYTES   0x4000u
#define LAYOUT_RESET_VECTOR \
    0xffff0u /* where a PC's firmware begins: code that resets the machine */
#define LAYOUT_KERNEL 0x100000u
/* On a `pc` the RAM behind its pictures, which no guest sees: what goes between its old disks and their servers. */
#define LAYOUT_BUFFERS       0xa0000u
#define LAYOUT_BUFFERS_BYTES 0x20000u

/* Devices in memory: IOAPIC_ADDRESS and the local APIC's page are where every PC has them. */
#define LAYOUT_VIRTIO             0xd0000000ull
#define LAYOUT_VIRTIO_PITCH       0x1000ull

#define LAYOUT_PORT_SLEEP_CONTROL 0x600u
#define LAYOUT_PORT_SLEEP_STATUS  0x601u
#define LAYOUT_PORT_RESET         0xcf9u
#define LAYOUT_PORT_PVPANIC       0x505u
#define LAYOUT_PORT_UART          0x3f8u

/* SMBIOS and MP table of a `pc`, in the place of firmware. */
#define LAYOUT_PC_SMBIOS   0xf0000u
#define LAYOUT_PC_MP       0xf1000u
#define LAYOUT_PC_MP_BYTES 0x1000u

/* A PIIX4's power management blocks on a `pc`: where SeaBIOS puts them, and where OVMF does. */
#define LAYOUT_PC_PM_BASE      0x600u
#define LAYOUT_PC_PM_BASE_UEFI 0xb000u

#define LAYOUT_LINE_UART       4u
#define LAYOUT_LINE_VIRTIO     5u /* and those that follow */

#define LAYOUT_RESET_VALUE     0x06u /* of the reset port: reset and full reset, as on a PIIX */
#define LAYOUT_SLEEP_TYPE      5u    /* of power-off: \_S5 */

#endif
