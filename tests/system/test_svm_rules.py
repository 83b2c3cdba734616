"""The rules of VMRUN on AMD-V: what the kernel says is broken must be what Bochs says in its log."""
import re

from bochs_rules import broken, compare, complaints

COMPLAINT = re.compile(r"VMRUN|SvmInjectEvents")


def test_the_kernel_names_the_rule_that_bochs_names(septum, tmp_path):
    rules = [rule for rule in broken(septum, "svm-1", "svm_rule_*", tmp_path / "run") if rule[1] != "-"]
    assert len(rules) == 15                  # Bochs does not look at rule 4, and stops at rule 10
    # CR0 and CR4 are complained of twice: once for what they are, once for what is wrong.
    said = [line for line in complaints(tmp_path / "run", COMPLAINT) if "check_CR" not in line]
    compare(rules, said)
