import importlib
import inspect
import sys

import pytest

from benchmark import cli, commands


@pytest.fixture
def give(monkeypatch):
    """Gives arguments to the installed command; returns the exit code of what it calls."""

    def give_arguments(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as end:
            commands.main()
        return end.value.code

    return give_arguments


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_has_a_program_that_needs_no_arguments_from_python(name):
    module, purpose = commands.COMMANDS[name]
    main = importlib.import_module(module).main
    parameters = inspect.signature(main).parameters.values()
    assert all(parameter.default is not parameter.empty for parameter in parameters)
    assert purpose


def test_a_command_gets_the_arguments_after_its_name(give, capsys):
    assert give("compare", "--help") == 0
    assert capsys.readouterr().out.startswith("Usage: python -m benchmark.compare A B")
    assert give("report", "no/such/folder") == 2
    assert "no results folder 'no/such/folder'" in capsys.readouterr().err


def test_options_of_a_run_are_given_to_it(give, monkeypatch):
    monkeypatch.setattr(cli, "main", lambda: sys.exit(sys.argv[1:]))
    for arguments in (
        [],
        ["model=vae"],
        ["--help"],
        ["--multirun", "seed=0,1"],
        ["~metric.kid"],
        ["seed"],
    ):
        assert give(*arguments) == arguments


def test_an_unknown_command_is_refused_with_the_nearest_one(give, capsys):
    assert give("docter") == 2
    assert "no command docter; did you mean doctor?" in capsys.readouterr().err
    assert give("xyz") == 2
    assert f"Expected one of {', '.join(commands.COMMANDS)}" in capsys.readouterr().err
