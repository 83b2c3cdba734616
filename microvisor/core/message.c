/* Messages that do more than registers can: long ones, and those that delegate. */
#include "core/ipc.h"

enum septum_status message_transfer(struct thread *from, struct thread *to, uint64_t badge)
{
    const struct registers *source = &from->registers;
    uint64_t tag = source->rsi & ~(TAG_ORIGIN_MASK << TAG_ORIGIN_SHIFT);

    if (from->fault) {
        if (from->fault == ORIGIN_EXCEPTION)
            thread_read_registers(from, &to->buffer->registers);
        ipc_set_reply(to, STATUS_OK, (uint64_t)from->fault << TAG_ORIGIN_SHIFT | 4,
                      from->fault_words[0], from->fault_words[1], source->rip, source->rsp);
        to->registers.rdi = badge;
        return STATUS_OK;
    }
    enum septum_status status = message_body(from, to, tag);
    if (status != STATUS_OK)
        return status;
    if (to->fault) { /* the answer to a fault: its registers are not a message's */
        if (to->fault == ORIGIN_EXCEPTION && TAG_LABEL(tag) == REPLY_WITH_REGISTERS)
            thread_write_registers(to, &from->buffer->registers);
        return STATUS_OK;
    }
    ipc_set_reply(to, STATUS_OK, tag, source->rdx, source->r10, source->r8, source->r9);
    to->registers.rdi = badge;
    return STATUS_OK;
}
