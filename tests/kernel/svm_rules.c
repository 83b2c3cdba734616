/*
 * The rules of VMRUN, one test for each rule of microvisor/check/svm_rules.def: the kernel makes the
 * VMCB break it, the entry fails, and the rule is named. tests/system/test_svm_rules.py compares with
 * Bochs's log. A processor that does not check a rule runs the guest, or what is left of it.
 */
#include "serial.h"
#include "vm.h"

#define CODE 0x1000u
#define SILENT "-"
#define STOPS "!"

static void expect_rule(unsigned number, const char *text, const char *bochs)
{
    static const uint8_t halt = 0xf4;
    struct vm vm;
    vm_create(&vm, 16);
    vm_load(&vm, CODE, &halt, sizeof halt);
    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT); /* from now on the kernel changes only what has changed */
    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, number, 0, 0, 0).status);
    if (strcmp(bochs, STOPS) == 0 && !vm_is_qemu())
        return;
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    serial_print("EVENT rule %u %s\n", number, exit.status == STATUS_ENTRY_FAILED ? bochs : SILENT);
    if (exit.status != STATUS_ENTRY_FAILED)
        return;
    EXPECT(vm_exit_reason(&exit), EXIT_ENTRY_FAILED);
    EXPECT(vm_state(&vm)->failed_rule_number, number);
    CHECK(strcmp(vm_state(&vm)->failed_rule, text) == 0);

    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
}

#define RULE(number, section, text, broken, violation, bochs)            \
    TEST_WITH(svm_rule_##number, TEST_NEEDS_SVM | TEST_NEEDS_DEBUG, section " " text) \
    {                                                                    \
        expect_rule(number, section " " text, bochs);                    \
    }
#include "microvisor/check/svm_rules.def"
#undef RULE

TEST_WITH(svm_rule_none, TEST_NEEDS_SVM | TEST_NEEDS_DEBUG, "a rule that does not exist is refused")
{
    struct vm vm;
    vm_create(&vm, 16);
    EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 99, 0, 0, 0).status,
                  STATUS_BAD_ARGUMENT);
}
