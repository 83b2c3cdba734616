/*
 * A plugin for QEMU's TCG that counts instructions: in all, and those of guests (between a VMRUN and the
 * instruction behind it). Whoever executes the magic nop `nopl 0x5cca00NN(%rax)`, in any ring, host
 * or guest, makes it write a line:
 *
 *     MARK NN instructions guest_instructions vm_entries halts
 *
 * to the file given by `out=`. One virtual CPU only. MARK entry is written when the instruction at the address
 * given by `entry=` (hexadecimal) is first executed, MARK end when QEMU ends.
 */
#include "qemu_plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
                                           int argc, char **argv);

enum { EXITS_MAX = 16 };

static uint64_t instructions, guest_instructions, entries, halts, entered_at;
static int in_guest;
static uint64_t behind_vmrun[EXITS_MAX]; /* where exits arrive */
static unsigned exits;
static uint64_t entry;
static FILE *out;

static void write_mark(const char *name)
{
    uint64_t guest = guest_instructions + (in_guest ? instructions - entered_at : 0);
    fprintf(out, "MARK %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, instructions,
            guest, entries, halts);
    fflush(out);
}

static void at_mark(unsigned cpu, void *data)
{
    char name[16];
    (void)cpu;
    snprintf(name, sizeof name, "%u", (unsigned)(uintptr_t)data);
    write_mark(name);
}

static void at_entry(unsigned cpu, void *data)
{
    (void)cpu, (void)data;
    if (entry)
        write_mark("entry");
    entry = 0;
}

static void at_vmrun(unsigned cpu, void *data)
{
    (void)cpu, (void)data;
    entries++;
    if (!in_guest)
        entered_at = instructions;
    in_guest = 1;
}

static void at_exit(unsigned cpu, void *data)
{
    (void)cpu, (void)data;
    if (in_guest)
        guest_instructions += instructions - entered_at;
    in_guest = 0;
}

static void at_halt(unsigned cpu, void *data)
{
    (void)cpu, (void)data;
    halts++;
}

static void look_at(struct qemu_plugin_insn *instruction)
{
    size_t size = qemu_plugin_insn_size(instruction);
    const unsigned char *code = qemu_plugin_insn_data(instruction);
    static const unsigned char nopl[] = {0x0f, 0x1f, 0x80}, magic[] = {0xca, 0x5c};
    static const unsigned char vmrun[] = {0x0f, 0x01, 0xd8};
    if (entry && qemu_plugin_insn_vaddr(instruction) == entry)
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_entry, QEMU_PLUGIN_CB_NO_REGS, NULL);
    if (size == 7 && memcmp(code, nopl, 3) == 0 && memcmp(code + 5, magic, 2) == 0) {
        uintptr_t number = code[3] | (uintptr_t)code[4] << 8;
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_mark, QEMU_PLUGIN_CB_NO_REGS,
                                               (void *)number);
    } else if (size == 1 && code[0] == 0xf4) {
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_halt, QEMU_PLUGIN_CB_NO_REGS, NULL);
    } else if (size == 3 && memcmp(code, vmrun, 3) == 0) {
        uint64_t behind = qemu_plugin_insn_vaddr(instruction) + 3;
        unsigned i = 0;
        while (i < exits && behind_vmrun[i] != behind)
            i++;
        if (i == exits && exits < EXITS_MAX)
            behind_vmrun[exits++] = behind;
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_vmrun, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

static void at_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t count = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (unsigned i = 0; i < exits; i++)
        if (behind_vmrun[i] == qemu_plugin_tb_vaddr(block))
            qemu_plugin_register_vcpu_tb_exec_cb(block, at_exit, QEMU_PLUGIN_CB_NO_REGS, NULL);
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &instructions,
                                             count);
    for (size_t i = 0; i < count; i++)
        look_at(qemu_plugin_tb_get_insn(block, i));
}

static void at_end(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    write_mark("end");
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        if (strncmp(argv[i], "entry=", 6) == 0)
            entry = strtoull(argv[i] + 6, NULL, 16);
    }
    if (!out) {
        fprintf(stderr, "the counting plugin wants out=FILE, a file that can be written\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, at_translation);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
