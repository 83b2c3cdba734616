#include "cpu/control.h"
#include "vcpu_thread.h"

#include "string.h"

#define CR0_ET    (1ull << 4)
#define CR0_PG    (1ull << 31)
#define CR4_PAE   (1ull << 5)
#define CR4_PCIDE (1ull << 17)
#define EFER_LME  (1ull << 8)
#define EFER_LMA  (1ull << 10)
#define CR3_KEEP  (1ull << 63) /* with PCIDs: the translations stay. We flush in any case */

bool control_read(struct vcpu *vcpu, unsigned number, uint64_t *value)
{
    const struct vcpu_state *state = vcpu->state;
    switch (number) {
    case 0: *value = state->cr0; return true;
    case 2: *value = state->cr2; return true;
    case 3: *value = state->cr3; return true;
    case 4: *value = state->cr4; return true;
    case 8: *value = local_apic_cr8(&vcpu->apic); return true;
    default: return false;
    }
}

/* The four entries that the processor keeps in PAE mode (SDM 3, 4.4.1). False: not in memory, or reserved bits. */
static bool load_pae_entries(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;
    uint64_t entries[4];
    if (!guest_memory_read(&vcpu->machine->memory, state->cr3 & 0xffffffe0, entries,
                           sizeof entries))
        return false;
    memcpy(state->pdpte, entries, sizeof entries);
    return true;
}

bool control_write(struct vcpu *vcpu, unsigned number, uint64_t value)
{
    struct vcpu_state *state = vcpu->state;
    if (number == 8) {
        if (value > 15)
            return false;
        local_apic_set_cr8(&vcpu->apic, value);
        state->cr8 = value;
        vcpu->dirty |= VCPU_GROUP_CONTROL;
        return true;
    }
    vcpu_undo_point(vcpu);
    switch (number) {
    case 0:
        if (value >> 32)
            return false;
        state->cr0 = value | CR0_ET;
        state->efer &= ~EFER_LMA;
        if (value & CR0_PG && state->efer & EFER_LME)
            state->efer |= EFER_LMA;
        break;
    case 2: state->cr2 = value; break;
    case 3: state->cr3 = state->cr4 & CR4_PCIDE ? value & ~CR3_KEEP : value; break;
    case 4: state->cr4 = value; break;
    default: return false;
    }
    vcpu->dirty |= VCPU_GROUP_CONTROL;
    bool pae = state->cr0 & CR0_PG && state->cr4 & CR4_PAE && !(state->efer & EFER_LMA);
    return !pae || number == 2 || load_pae_entries(vcpu);
}
