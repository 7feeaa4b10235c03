"""By which words code of other languages can hold a test."""

import pytest

from harmony_ls.features.code_actions.tests_location import LANGUAGES
from harmony_ls.features.code_actions.tests_marks import can_hold_test


@pytest.mark.parametrize(
    ("language", "written"),
    [
        ("javascript", "it('adds', () => {\n  expect(add(1, 2)).toBe(3)\n})"),
        ("javascript", "xit.each`a | b`('adds', add)"),
        ("typescript", "test.only<number>('adds', add)"),
        ("typescript", "Deno.test('adds', () => add(1, 2))"),
        ("typescriptreact", "describe('List', () => { specify('is empty', empty) })"),
        ("go", "func TestAdd(t *testing.T) {\n}"),
        ("go", "func (s *Suite) TestAdd() {\n}"),
        ("go", 'var _ = Describe("Add", func() {\n\tIt("adds", add)\n})'),
        ("java", "@Test\nvoid adds() {}"),
        ("java", "@org.junit.jupiter.params.ParameterizedTest void adds() {}"),
        ("java", "public void testAdds() {}"),
        ("kotlin", '"adds" { add(1, 2) shouldBe 3 }'),
        ("ruby", "it { is_expected.to eq 3 }"),
        ("ruby", "def test_adds\n  assert_equal 3, add(1, 2)\nend"),
        ("ruby", 'test "adds" do\nend'),
        ("php", "public function testAdds(): void {}"),
        ("php", "#[DataProvider('sums'), Test]\npublic function adds(): void {}"),
        ("php", "it('adds', fn () => expect(add(1, 2))->toBe(3));"),
        ("elixir", 'test "adds", do: assert add(1, 2) == 3'),
        ("rust", "fn anything() {}"),
    ],
)
def test_tests(language: str, written: str) -> None:
    assert can_hold_test(written, "", language)


@pytest.mark.parametrize(
    ("language", "written"),
    [
        ("javascript", "const add = (a, b) => a + b\nif (/1/.test(add(1, 2))) commit(add)"),
        ("typescript", "import { add } from './add'"),
        ("go", 'package sums\n\nimport "testing"\n\nfunc Add(a, b int) int { return a + b }'),
        ("java", "class Sums { int add(int a, int b) { return a + b; } }"),
        ("ruby", "def add(a, b)\n  a + b\nend"),
        ("php", "<?php function add($a, $b) { return $a + $b; } $regex->test($a);"),
        ("elixir", "def add(a, b), do: a + b"),
    ],
)
def test_no_test(language: str, written: str) -> None:
    assert not can_hold_test(written, "", language)
    assert not can_hold_test(written, " \n", language)
    assert can_hold_test(written, "nothing of the kind is in their file either", language)


def test_every_language_with_files_of_tests_is_judged_or_known_not_to_be() -> None:
    judged = {language for language in LANGUAGES if not can_hold_test("", "", language)}
    assert LANGUAGES - judged == {"python", "kotlin"}
