"""CI cannot pass by skipping."""

import pytest

pytest_plugins = ["pytester"]

SKIPPING_MODULES = {
    "a test that skips": "import pytest\ndef test_it(): pytest.skip('no Chromium')",
    "a marked test": "import pytest\n@pytest.mark.skip(reason='no Chromium')\ndef test_it(): pass",
    "a fixture that skips": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no Chromium')\ndef test_it(it): pass",
    "a whole module": "import pytest\npytest.skip('no Chromium', allow_module_level=True)",
}


@pytest.mark.parametrize("source", SKIPPING_MODULES.values(), ids=SKIPPING_MODULES.keys())
def test_a_skip_fails_the_run_and_says_what_is_missing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    pytester.makepyfile(source)
    monkeypatch.setenv("INNERLOOP_NO_SKIPS", "1")
    result = pytester.runpytest("-p", "tests.no_skips")
    assert result.ret != pytest.ExitCode.OK
    assert result.parseoutcomes().get("skipped", 0) == 0
    result.stdout.fnmatch_lines(["*no Chromium*install what is missing*"])


def test_a_developer_may_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import pytest\ndef test_it(): pytest.skip('no Chromium')\ndef test_other(): pass")
    monkeypatch.delenv("INNERLOOP_NO_SKIPS", raising=False)
    pytester.runpytest("-p", "tests.no_skips").assert_outcomes(passed=1, skipped=1)


def test_an_expected_failure_is_no_skip(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it(): assert False")
    monkeypatch.setenv("INNERLOOP_NO_SKIPS", "1")
    pytester.runpytest("-p", "tests.no_skips").assert_outcomes(xfailed=1)
