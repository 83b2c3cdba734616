"""The ACPI tables of a guest, read by ACPICA's iasl."""
import os
import shutil
import subprocess

import pytest

from machines import ROOT

WRITER = os.path.join(ROOT, "build", "unit", "gcc", "acpi_test")


LEAN, PC = ["dsdt", "fadt", "madt"], ["dsdt-pc", "fadt-pc", "madt-pc", "hpet-pc"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    if not os.path.exists(WRITER) or not shutil.which("iasl"):
        pytest.skip("the unit tests are not built, or iasl is not there: run `make setup test-unit`")
    folder = tmp_path_factory.mktemp("acpi")
    subprocess.run([WRITER], env={**os.environ, "ACPI_DUMP": str(folder)}, check=True, capture_output=True)
    for name in LEAN + PC:
        subprocess.run(["iasl", "-d", f"{name}.dat"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["dsdt", "dsdt-pc"])
def test_dsdt_compiles_again_without_a_warning(tables, name):
    result = subprocess.run(["iasl", "-p", "again", f"{name}.dsl"], cwd=tables, capture_output=True, text=True)
    assert "0 Errors, 0 Warnings" in result.stdout, result.stdout


def test_dsdt_names_the_devices(tables):
    text = (tables / "dsdt.dsl").read_text()
    assert text.count('Name (_HID, "LNRO0005")') == 3
    assert 'EisaId ("PNP0501")' in text and 'Name (_HID, "QEMU0001")' in text
    for wanted in ["0xD0002000,         // Address Base", "0x03F8,             // Range Minimum", "0x00000007,"]:
        assert wanted in text, wanted


def test_fadt_and_madt_have_no_bad_sums(tables):
    for name in ["fadt", "madt", "fadt-pc", "madt-pc", "hpet-pc"]:
        text = (tables / f"{name}.dsl").read_text()
        assert "Incorrect checksum" not in text and "Invalid" not in text
    fadt = (tables / "fadt.dsl").read_text()
    assert "Hardware Reduced (V5) : 1" in fadt and "Reset Register Supported (V2) : 1" in fadt
    assert (tables / "madt.dsl").read_text().count("[Processor Local APIC]") == 4


def test_dsdt_of_a_pc_is_what_its_source_gives():
    subprocess.run([os.path.join(ROOT, "tools", "dsdt.py"), "--check"], check=True)


def test_tables_of_a_pc_name_its_devices(tables):
    dsdt, fadt = (tables / "dsdt-pc.dsl").read_text(), (tables / "fadt-pc.dsl").read_text()
    for wanted in ['EisaId ("PNP0A03")', 'EisaId ("PNP0C0F")', 'EisaId ("PNP0700")', "Name (PMIN, 0xC0000000)",
                   "Name (PLEN, 0x3EC00000)", "Name (HAVE, 0x80000005)", "Method (_PRT, 0, Serialized)"]:
        assert wanted in dsdt, wanted
    assert "Hardware Reduced (V5) : 0" in fadt and "SCI Interrupt : 0009" in fadt
    madt = (tables / "madt-pc.dsl").read_text()
    assert madt.count("[Processor Local APIC]") == 2 and madt.count("[Interrupt Source Override]") == 5

