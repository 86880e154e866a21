"""Both documented command lines on the bundled run, as people call them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cam_engine.commands.arguments import experiment_main, images_main
from cam_engine.images.png import read_png_text
from service.commands.arguments import main as gradcam

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "visualization"
COMPONENTS = [
    f"{layer}_{kind}" for layer in ("early", "mid", "late") for kind in ("heatmap", "overlay")
]


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Small networks are quickest on one thread."""


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    """A copy that may be written to, with the small checkpoints linked."""
    copy = tmp_path / lifecycle.name
    shutil.copytree(lifecycle, copy, copy_function=lambda a, b: Path(b).symlink_to(a))
    return copy


def crops_of(experiment: Path) -> Path:
    return experiment / "crops_gt_crops/crops/test"


def checkpoint_of(experiment: Path, loss: str = "focal") -> Path:
    (path,) = experiment.glob(f"cls_*_{loss}/best.pt")
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    text = (folder / "summary.csv").read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_documented_experiment_script_writes_the_documented_tree(experiment: Path) -> None:
    """As in the guide, in a process of its own: defaults, then where everything is."""
    script = SCRIPTS / "run_improved_gradcam_on_experiments.py"
    done = subprocess.run(
        [sys.executable, script, "--exp-folder", f"{experiment}/", "--max-images", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    root = experiment / "gradcam_visualizations"
    models = sorted(path.name for path in experiment.glob("cls_*"))
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == models
    for model in models:
        mains = sorted((root / model).glob("improved_gradcam_*.png"))
        assert len(mains) == 4
        stems = [main.stem.removeprefix("improved_gradcam_") for main in mains]
        expected = sorted(f"{stem}_{part}.png" for stem in stems for part in COMPONENTS)
        assert sorted(p.name for p in (root / model / "components").iterdir()) == expected
        with Image.open(mains[0]) as panel:
            assert panel.width >= 1000
    assert {row["true"] for row in rows_of(root)} == {
        "gametocyte",
        "ring",
        "schizont",
        "trophozoite",
    }
    assert str(root) in done.stdout
    assert "correct" in done.stdout


def test_the_documented_images_script_on_one_file(lifecycle: Path, tmp_path: Path) -> None:
    image = next(crops_of(lifecycle).rglob("*.jpg"))
    done = subprocess.run(
        [
            *(sys.executable, SCRIPTS / "generate_improved_gradcam.py"),
            *("--model", checkpoint_of(lifecycle), "--images", image),
            *("--class-names", "gametocyte", "ring", "schizont", "trophozoite"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "improved_gradcam_output"
    assert (folder / f"improved_gradcam_{image.stem}.png").is_file()
    assert len(list((folder / "components").iterdir())) == 6


# The guide's workflows, with the bundled run's names.


def test_workflow_all_datasets(sample_run: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(sorted((sample_run / "experiments").iterdir())):
        base = tmp_path / str(number)
        arguments = ["--exp-folder", str(folder), "--max-images", "5", "--output-base", str(base)]
        assert experiment_main(arguments) == 0
        assert len(rows_of(base)) == 5 * len(list(folder.glob("cls_*")))


def test_workflow_focal_against_class_balanced(lifecycle: Path, tmp_path: Path) -> None:
    for loss in ("focal", "cb"):
        arguments = ["--exp-folder", str(lifecycle), "--models", loss, "--max-images", "4"]
        assert experiment_main([*arguments, "--output-base", str(tmp_path)]) == 0
    models = {row["model"] for row in rows_of(tmp_path)}
    assert {model.rsplit("_", 1)[1] for model in models} == {"focal", "cb"}
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["counts"] == {"images": 8, "succeeded": 8, "failed": 0}


def test_workflow_high_resolution_for_a_paper(lifecycle: Path, tmp_path: Path) -> None:
    arguments = [
        *("--model", str(checkpoint_of(lifecycle)), "--images", str(crops_of(lifecycle))),
        *("--class-names", "gametocyte", "ring", "schizont", "trophozoite"),
        *("--max-images", "2", "--output", str(tmp_path / "paper"), "--format", "pdf"),
        *("--dpi", "300"),
    ]
    assert images_main(arguments) == 0
    pdfs = sorted((tmp_path / "paper").glob("improved_gradcam_*.pdf"))
    assert len(pdfs) == 2
    assert b"/FontFile2" in pdfs[0].read_bytes()
    assert len(list((tmp_path / "paper").glob("improved_gradcam_*.png"))) == 2
    arguments[-4:-2] = ["--format", "png"]
    arguments[arguments.index("--output") + 1] = str(tmp_path / "png")
    assert images_main(arguments) == 0
    with Image.open(next((tmp_path / "png").glob("improved_gradcam_*.png"))) as figure:
        assert figure.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert figure.width == 2100


def test_workflow_newest_experiment(
    sample_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = sample_run.parent
    arguments = ["--exp-folder", str(results), "--models", "focal", "--max-images", "4"]
    assert experiment_main([*arguments, "--output-base", str(tmp_path)]) == 0
    experiments = sorted(path.name for path in (sample_run / "experiments").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == experiments


def test_gradcam_images_with_every_extra(lifecycle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status = gradcam(
        [
            *("images", "--model", str(checkpoint_of(lifecycle))),
            *("--images", str(crops_of(lifecycle)), "--output", str(out)),
            *("--max-images", "3", "--pick", "random", "--seed", "4", "--method", "layercam"),
            *("--layers", "late", "early", "--fused", "--target", "ring", "--colormap", "viridis"),
            *("--alpha", "0.4", "--blend", "uniform", "--batch-size", "2", "--device", "cpu"),
            *("--save-maps", "--no-clahe", "--precision", "float32", "--quiet"),
        ]
    )
    assert status == 0
    (first, *_) = sorted(out.glob("improved_gradcam_*.png"))
    stem = first.stem.removeprefix("improved_gradcam_")
    names = sorted(path.name for path in (out / "components").glob(f"{stem}_*"))
    parts = [
        f"{la}_{k}" for la in ("early", "fused", "late") for k in ("heatmap", "map", "overlay")
    ]
    assert names == [f"{stem}_{part}.png" for part in parts]
    grey = np.asarray(Image.open(out / "components" / f"{stem}_fused_map.png"))
    assert grey.dtype == np.uint16
    assert grey.shape == (224, 224)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["method"] == "layercam"
    assert manifest["options"]["target"] == "ring"
    assert manifest["preprocessing"].startswith("no CLAHE")


def test_every_png_carries_its_recipe(lifecycle: Path, tmp_path: Path) -> None:
    arguments = ["--exp-folder", str(lifecycle), "--models", "focal", "--max-images", "1"]
    assert experiment_main([*arguments, "--fused", "--output-base", str(tmp_path)]) == 0
    pictures = sorted(tmp_path.rglob("*.png"))
    assert len(pictures) == 9
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    for picture in pictures:
        text = read_png_text(picture)
        assert text["Model-SHA256"] == manifest["model_sha256"]
        assert text["Software"].startswith("gradcam-service ")
        assert text["Preprocessing"].startswith("CLAHE 2.0 8x8; resize 224x224")
        recipe = json.loads(text["Recipe"])
        assert recipe["run"] == manifest["run"]
        fused = "_fused_" in picture.name
        assert text["Method"] == ("class-aware" if fused else "gradcam++")
        if "components" in picture.parts:
            assert text["Layer"].endswith("x".join(str(side) for side in recipe["grid"]))


def test_resume_keeps_what_is_whole_and_makes_the_rest_again(
    lifecycle: Path, tmp_path: Path
) -> None:
    base = ["--exp-folder", str(lifecycle), "--models", "focal", "--output-base", str(tmp_path)]
    assert experiment_main([*base, "--max-images", "5"]) == 0
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    mains = sorted(folder.glob("improved_gradcam_*.png"))
    damaged, lacking = mains[0], mains[1]
    damaged.write_bytes(damaged.read_bytes()[:2000])
    stem = lacking.stem.removeprefix("improved_gradcam_")
    (folder / "components" / f"{stem}_mid_overlay.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    first = json.loads((folder / "summary.json").read_text())
    assert experiment_main([*base, "--max-images", "5", "--resume"]) == 0
    made = {p for p in folder.rglob("*.png") if p.stat().st_mtime_ns != before.get(p)}
    assert {p for p in made if p.parent == folder} == {damaged, lacking}
    assert json.loads((folder / "manifest.json").read_text())["counts"]["resumed"] == 3
    again = json.loads((folder / "summary.json").read_text())
    assert [row["image"] for row in again["images"]] == [row["image"] for row in first["images"]]
    # Other options make other pictures: nothing is kept.
    assert experiment_main([*base, "--max-images", "5", "--resume", "--no-clahe"]) == 0
    assert json.loads((folder / "manifest.json").read_text())["counts"]["resumed"] == 0


def test_some_failed_images_are_named_and_the_rest_is_done(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = experiment / "crops_gt_crops/crops/test/ring"
    (ring / "a_broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    arguments = ["--exp-folder", str(experiment), "--models", "focal", "--max-images", "8"]
    assert experiment_main(arguments) == 1
    rows = rows_of(experiment / "gradcam_visualizations")
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["error"] for row in failed] == ["invalid-image"]
    assert failed[0]["image"].endswith("ring/a_broken.jpg")
    assert len(rows) == 8
    assert "a_broken.jpg" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_does_not_stop_the_others(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = experiment / "cls_resnet50_ce"
    broken.mkdir()
    (broken / "best.pt").write_bytes(b"not a checkpoint")
    arguments = ["--exp-folder", str(experiment), "--max-images", "1"]
    assert experiment_main(arguments) == 1
    assert "cls_resnet50_ce: error [checkpoint-invalid]" in capsys.readouterr().err
    assert len(rows_of(experiment / "gradcam_visualizations")) == 2
    assert experiment_main([*arguments, "--models", "resnet50"]) == 2


def save_failing(folder: Path) -> None:
    """A network that fails in its own code: nothing is left to pool of 16 px."""
    folder.mkdir()
    network = torchvision.models.get_model("densenet121", weights=None, num_classes=4)
    contents = {"model_name": "densenet121", "state_dict": network.state_dict(), "input_size": 16}
    torch.save(contents, folder / "best.pt")


def test_a_model_that_fails_in_any_way_does_not_stop_the_others(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_failing(experiment / "cls_failing_ce")
    assert experiment_main(["--exp-folder", str(experiment), "--max-images", "1"]) == 1
    said = capsys.readouterr().err
    assert "cls_failing_ce: error [internal-error]" in said
    assert "Traceback" not in said
    assert len(rows_of(experiment / "gradcam_visualizations")) == 2
    image = str(next(crops_of(experiment).rglob("*.jpg")))
    model = str(experiment / "cls_failing_ce/best.pt")
    output = str(experiment.parent / "out")
    assert images_main(["--model", model, "--images", image, "--output", output]) == 2
    assert "error [internal-error]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--exp-folder", "{tmp}/nowhere"], "experiment-not-found"),
        (["--exp-folder", "{tmp}"], "no-models-found.*no classification models found"),
        (["--exp-folder", "{exp}", "--models", "vgg"], "no-models-found.*there are cls_"),
        (["--exp-folder", "{exp}", "--layers", "lat"], "layer-not-found.*near it: late"),
        (["--exp-folder", "{exp}", "--target", "vivax"], "class-not-found.*gametocyte, ring"),
        (["--exp-folder", "{exp}", "--alpha", "2"], "invalid-option.*between 0 and 1"),
        (["--exp-folder", "{exp}", "--device", "warp"], "invalid-option.*warp"),
    ],
)
def test_when_nothing_can_be_done_one_line_says_why(
    lifecycle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    filled = [word.format(tmp=tmp_path, exp=lifecycle) for word in arguments]
    if "--output-base" not in filled and str(lifecycle) in filled:
        filled += ["--output-base", str(tmp_path / "out")]
    assert experiment_main(filled) == 2
    error = capsys.readouterr().err
    assert re.search(words, error.replace("\n", " ")), error
    assert not list((tmp_path / "out").rglob("*.png"))


def test_no_test_images(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cls_mobilenet_v3_small_focal").mkdir()
    link = tmp_path / "cls_mobilenet_v3_small_focal" / "best.pt"
    link.symlink_to(checkpoint_of(lifecycle))
    assert experiment_main(["--exp-folder", str(tmp_path)]) == 2
    assert "no test images found" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    arguments = ["--model", str(link), "--images", str(tmp_path / "empty")]
    assert images_main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert "no-images-found" in capsys.readouterr().err


def test_wrong_number_of_class_names(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(checkpoint_of(lifecycle)), "--images", str(crops_of(lifecycle))]
    arguments += ["--class-names", "ring", "schizont", "--output", str(tmp_path / "out")]
    assert images_main(arguments) == 2
    assert "error [class-names-mismatch]" in capsys.readouterr().err


def test_standard_gradcam_flag(lifecycle: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(checkpoint_of(lifecycle)), "--images", str(crops_of(lifecycle))]
    arguments += ["--max-images", "1", "--output", str(tmp_path), "--use-standard-gradcam"]
    assert images_main(arguments) == 0
    assert json.loads((tmp_path / "manifest.json").read_text())["options"]["method"] == "gradcam"
    assert images_main([*arguments, "--method", "layercam"]) == 2


def test_json_answer_is_alone_on_standard_output(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--exp-folder", str(lifecycle), "--max-images", "1", "--json"]
    assert experiment_main([*arguments, "--output-base", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["models"]) == 2
    assert answer["models"][0]["images"][0]["layers"][0]["grid"] == [28, 28]


def test_quiet_says_nothing(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--exp-folder", str(lifecycle), "--models", "cb", "--max-images", "1", "--quiet"]
    assert experiment_main([*arguments, "--output-base", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "")


def test_pick_errors_shows_what_the_classifier_gets_wrong(lifecycle: Path, tmp_path: Path) -> None:
    base = ["--exp-folder", str(lifecycle), "--models", "focal", "--no-clahe"]
    everything, worst = tmp_path / "all", tmp_path / "worst"
    assert experiment_main([*base, "--max-images", "1000", "--output-base", str(everything)]) == 0
    wrong = {row["image"] for row in rows_of(everything) if row["correct"] == "false"}
    count = max(1, len(wrong))
    arguments = [*base, "--pick", "errors", "--max-images", str(count)]
    assert experiment_main([*arguments, "--output-base", str(worst)]) == 0
    shown = [row["image"] for row in rows_of(worst)]
    assert set(shown) == wrong or not wrong


def test_a_folder_that_cannot_be_written_to(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    arguments = ["--exp-folder", str(lifecycle), "--output-base", str(tmp_path / "file")]
    assert experiment_main(arguments) == 2
    assert "error [output-not-writable]" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["experiment"], ["images"], ["verify"]])
def test_help_answers_without_loading_torch(command: list[str]) -> None:
    code = (
        "import sys; from service.commands.arguments import main\n"
        f"try: main({[*command, '--help']!r})\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.real
def test_the_real_experiment_with_all_its_models(real_experiment: Path, tmp_path: Path) -> None:
    arguments = ["--exp-folder", str(real_experiment), "--max-images", "4", "--fused", "--quiet"]
    assert experiment_main([*arguments, "--output-base", str(tmp_path)]) == 0
    rows = rows_of(tmp_path)
    models = sorted(path.parent.name for path in real_experiment.glob("cls_*/best.pt"))
    assert sorted({row["model"] for row in rows}) == models
    assert {row["early_grid"] for row in rows} == {"28x28"}
    assert {row["late_grid"] for row in rows} == {"7x7"}
    assert gradcam(["verify", str(tmp_path)]) == 0


@pytest.mark.real
def test_the_images_command_on_the_real_experiment(real_experiment: Path, tmp_path: Path) -> None:
    for model in sorted(real_experiment.glob("cls_*/best.pt")):
        arguments = ["--model", str(model), "--images", str(crops_of(real_experiment))]
        arguments += ["--class-names", "gametocyte", "ring", "schizont", "trophozoite"]
        out = tmp_path / model.parent.name
        assert images_main([*arguments, "--max-images", "4", "--output", str(out), "--quiet"]) == 0
        assert len(rows_of(out)) == 4


def damaged_pictures() -> dict[str, bytes]:
    """Pictures of which libtiff, below Pillow and OpenCV, and Pillow itself print lines."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "TIFF", compression="tiff_lzw")
    plain = bytearray(buffer.getvalue())
    plain[len(plain) // 2 : len(plain) // 2 + 60] = b"\xff" * 60
    noise = np.random.default_rng(0).integers(0, 65535, (40, 40, 3), dtype=np.uint16)
    deep = bytearray(cv2.imencode(".tif", noise)[1].tobytes())
    deep[len(deep) // 2 : len(deep) // 2 + 60] = b"\xff" * 60
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(
        buffer, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05"
    )
    return {"plain.tif": bytes(plain), "deep.tif": bytes(deep), "sound.jpg": buffer.getvalue()}


def test_what_decoders_print_stays_out_of_what_the_command_says(
    lifecycle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in damaged_pictures().items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "service", "images", "--output", tmp_path / "out"),
            *("--model", checkpoint_of(lifecycle), "--images", folder),
            *("--class-names", "gametocyte", "ring", "schizont", "trophozoite"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    for name in ("plain.tif", "deep.tif"):  # by ourselves
        assert re.search(rf"{name}.*the TIFF data is damaged", said)
    for mark in ("not yet in table.\n", "Decode", "[ERROR:", "[ WARN:", "grfmt_tiff", "Warning"):
        assert mark not in said


def test_a_long_name_stops_nothing(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(crops_of(experiment).rglob("*.jpg"))
    folder = tmp_path / "images"
    folder.mkdir()
    long = "клетка" * 20 + ".jpg"
    for name in (long, "short.jpg"):
        shutil.copy(image, folder / name)
    layer = ["--layers", "early", "features.12"]
    model = ["--model", str(checkpoint_of(experiment)), "--images", str(folder)]
    assert images_main([*model, *layer, "--output", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out")
    assert sorted(row["image"] for row in rows) == ["short.jpg", long]
    assert all((tmp_path / "out" / row["figure"]).is_file() for row in rows)


FOREIGN = ('{"accuracy": 0.93}', "[1, 2]", "[]", '{"models": {"a": 1}}', "no JSON at all")


@pytest.mark.parametrize("foreign", ["", *FOREIGN])
def test_a_foreign_summary_in_the_output_is_left_out_and_left_alone(
    experiment: Path, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    output = experiment / "gradcam_visualizations"
    (output / "others").mkdir(parents=True)
    (output / "others/summary.json").write_text(foreign)
    assert experiment_main(["--exp-folder", str(experiment), "--max-images", "1"]) == 0
    assert len(rows_of(output)) == 2
    assert (output / "others/summary.json").read_text() == foreign
    assert "others: left out of" in caplog.text


@pytest.mark.parametrize("file", ["summary.json", "summary.csv", "manifest.json"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_is_not_ours_is_never_replaced(
    experiment: Path, file: str, foreign: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The experiment's folder as the output, where the training script has put files of its own."""
    own, other = (checkpoint_of(experiment, loss).parent for loss in ("focal", "cb"))
    for folder in (own, experiment):
        (folder / file).unlink(missing_ok=True)
        (folder / file).write_text(foreign)
    arguments = ["--exp-folder", str(experiment), "--output-base", str(experiment)]
    assert experiment_main([*arguments, "--max-images", "1"]) == 0
    for folder in (own, experiment):
        assert (folder / file).read_text() == foreign
        assert f"{folder / file} is not of this software" in caplog.text
    assert len(rows_of(other)) == 1
    (experiment / file).unlink()
    assert experiment_main([*arguments, "--max-images", "1"]) == 0
    assert len(rows_of(experiment)) == 2
    assert experiment_main([*arguments, "--max-images", "2"]) == 0
    assert len(rows_of(other)) == 2


def test_an_empty_summary_is_replaced(experiment: Path) -> None:
    output = experiment / "gradcam_visualizations"
    folder = output / checkpoint_of(experiment).parent.name
    folder.mkdir(parents=True)
    for place in (output, folder):
        (place / "summary.json").touch()
    assert experiment_main(["--exp-folder", str(experiment), "--max-images", "1"]) == 0
    assert len(rows_of(output)) == 2
    assert len(json.loads((folder / "summary.json").read_text())["images"]) == 1


def test_names_that_are_not_utf8_are_escaped(
    experiment: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Latin-1, as old archives have it: of an image, its class, and a classifier."""
    model = checkpoint_of(experiment).parent
    model.rename(model.parent / os.fsdecode(os.fsencode(model.name) + b"\xe9"))
    first, second, *rest = sorted(crops_of(experiment).rglob("*.jpg"))
    for crop in rest:
        crop.unlink()
    first.rename(first.parent / os.fsdecode(b"cellul\xe9.jpg"))
    kind = crops_of(experiment) / os.fsdecode(b"anneau_\xe9")
    kind.mkdir()
    second.rename(kind / "plain.jpg")
    assert experiment_main(["--exp-folder", str(experiment), "--models", "focal"]) == 0
    (row, other) = rows_of(experiment / "gradcam_visualizations")
    assert row["model"] == f"{model.name}%E9"
    assert {Path(entry["image"]).name for entry in (row, other)} == {"cellul%E9.jpg", "plain.jpg"}
    figures = experiment / "gradcam_visualizations" / row["model"]
    assert all((figures / entry["figure"]).is_file() for entry in (row, other))
    json.loads((figures / "summary.json").read_bytes())
    arguments = ["--model", str(next(experiment.glob("cls_*focal*/best.pt")))]
    arguments += ["--images", str(crops_of(experiment)), "--output", str(tmp_path / "out")]
    assert images_main(arguments) == 0
    assert "%E9" in capfd.readouterr().out
