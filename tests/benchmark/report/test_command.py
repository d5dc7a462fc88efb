import pytest

from benchmark.report import command, page
from benchmark.report.readme import BEGIN, END


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(page, "draw_group", lambda *arguments: {})


def exit_code(arguments):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    return end.value.code


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_no_results_is_one_line_and_exit_code_2(tmp_path, capsys, folder):
    (tmp_path / "empty").mkdir()
    assert exit_code([str(tmp_path / folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert str(tmp_path / folder) in captured.err and "python -m benchmark" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b"],
        ["a", "results_dir=b"],
        ["colour=1"],
        ["readme=a", "seed=1"],
        ["publish=a", "readme=b"],
        ["--seed=1"],
    ],
)
def test_wrong_arguments_show_the_usage(capsys, arguments):
    assert exit_code(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot read the arguments {arguments[0]}") and "Usage" in error


def test_help_is_no_error(capsys):
    assert command.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage")


def test_main_writes_the_report_of_a_folder(results_dir, capsys, undrawn):
    assert command.main([str(results_dir)]) == 0
    assert str(results_dir / "report.html") in capsys.readouterr().out


def test_main_writes_the_report_of_the_chosen_rows(results_dir, capsys, undrawn):
    assert command.main([f"results_dir={results_dir}", "model=vae,ddpm", "dataset=mnist"]) == 0
    text = (results_dir / "trilemma.md").read_text()
    assert "| vae " in text and "| ddpm " in text and "| dcgan " not in text
    assert exit_code([str(results_dir), "model=flow"]) == 2
    assert capsys.readouterr().err == "error: no results of trained models with model=flow\n"


def test_the_report_has_figures_for_papers(results_dir, capsys):
    assert command.main([str(results_dir)]) == 0
    figures = results_dir / "figures"
    names = {path.stem for path in figures.glob("*.png")}
    assert len(names) > 2 and names == {path.stem for path in figures.glob("*.pdf")}
    for path in figures.glob("*.pdf"):
        content = path.read_bytes()
        assert content.startswith(b"%PDF") and b"/Type3" not in content


def test_main_publishes_and_writes_the_readme(results_dir, tmp_path, capsys, undrawn):
    target, readme = tmp_path / "reference", tmp_path / "README.md"
    assert command.main([str(results_dir), f"publish={target}", "model=vae,ddpm"]) == 0
    assert str(target / "trilemma.md") in capsys.readouterr().out
    assert "dcgan" not in (target / "trilemma.csv").read_text()
    readme.write_text(f"{BEGIN}\n{END}\n")
    assert command.main([str(target), f"readme={readme}"]) == 0
    assert "| vae " in readme.read_text()


def test_a_mistake_in_publishing_is_one_line(results_dir, tmp_path, capsys):
    arguments = [str(results_dir), f"publish={tmp_path / 'reference'}", "seed=99"]
    assert exit_code(arguments) == 2
    assert capsys.readouterr().err == "error: no results of trained models with seed=99\n"
