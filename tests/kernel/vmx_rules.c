/*
 * The rules of VM entry on VT-x, one test for each rule of microvisor/check/vmx_rules.def: the
 * kernel makes the state of a vCPU break that rule and no other before it, the entry fails, the
 * rule is named, and with the state mended the guest runs. tests/system/test_vmx_rules.py compares
 * with Bochs's log.
 */
#include "serial.h"
#include "vm.h"

#define CODE 0x1000u
#define SILENT "-"
/* Reserved bits of the controls: broken instead where a processor lacks the control that a rule
 * is about. */
#define CONTROLS_RULES (1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 40 | 1ull << 50)

static void expect_rule(unsigned number, const char *text, const char *bochs)
{
    static const uint8_t halt = 0xf4;
    struct vm vm;
    vm_create(&vm, 16);
    vm_load(&vm, CODE, &halt, sizeof halt);
    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT); /* from now on the kernel changes only what has changed */
    struct message set = sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, number, 0, 0, 0);
    if (set.status == STATUS_BAD_ARGUMENT)
        test_skip("this processor has no field for it");
    EXPECT_OK(set.status);
    serial_print("EVENT rule %u %s\n", number, bochs);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT_STATUS(exit.status, STATUS_ENTRY_FAILED);
    EXPECT(vm_exit_reason(&exit), EXIT_ENTRY_FAILED);
    unsigned found = vm_state(&vm)->failed_rule_number;
    if (found != number && found < 64 && CONTROLS_RULES >> found & 1)
        test_skip("this processor lacks the control");
    EXPECT(found, number);
    CHECK(strcmp(vm_state(&vm)->failed_rule, text) == 0);

    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 0, 0, 0, 0).status);
    vm_expect(&vm, 0, EXIT_HLT);
}

#define RULE(number, section, text, broken, violation, bochs)                                      \
    TEST_WITH(vmx_rule_##number, TEST_NEEDS_VMX | TEST_NEEDS_DEBUG, section " " text)              \
    {                                                                                              \
        expect_rule(number, section " " text, bochs);                                              \
    }
#include "microvisor/check/vmx_rules.def"
#undef RULE
