import re
import string
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import InputError
from beeagent_models.augmentation.mixture import read_training_sets
from beeagent_models.datasets.synthesize import synthesize
from hypothesis import given, settings
from hypothesis import strategies as st

LABEL = st.text(string.ascii_letters + " -@.", min_size=1).map(str.strip).filter(lambda label: label)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture") / "drawn"
    date = datetime(2026, 5, 4, tzinfo=timezone.utc)
    synthesize(folder, frames=3, width=96, height=96, seed=1, created_at=date)
    return folder


def mixture(folder: Path, text: str) -> str:
    path = folder / "mixture.toml"
    path.write_text(text)
    return str(path)


def test_mixture_file_has_options_per_dataset(drawn: Path) -> None:
    text = """
        [[dataset]]
        path = "drawn"
        labels = ["bee"]
        attribute = "bees"
        weight = 2.5
        ignored_border = [0.0, 0.06, 0, 0.18]
        blue_background = true
        cutouts = false
        box_scale = 1.1

        [[dataset]]
        path = "drawn/output.manifest"
    """
    first, second = read_training_sets(mixture(drawn.parent, text))
    assert (first.dataset.name, len(first.dataset.images), first.dataset.labels) == ("drawn", 3, ("bee",))
    assert (first.weight, first.ignored_border) == (2.5, (0, 0.06, 0, 0.18))
    assert (first.blue_background, first.cutouts, first.box_scale) == (True, False, 1.1)
    assert (second.weight, second.ignored_border) == (1.0, (0, 0, 0, 0))
    assert (second.blue_background, second.cutouts, second.box_scale) == (False, True, 1.0)
    np.testing.assert_array_equal(first.dataset.images[2].boxes, second.dataset.images[2].boxes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[dataset]", "not TOML: "),
        ("", "dataset: Field required"),
        ("dataset = []", "dataset: Tuple should have at least 1 item"),
        ("[[dataset]]\nweight = 1", "dataset.0.path: Field required"),
        ('[[dataset]]\npath = "drawn"\nwieght = 2', "dataset.0.wieght: Extra inputs are not permitted"),
        ('title = "x"\n[[dataset]]\npath = "drawn"', "title: Extra inputs are not permitted"),
        ('[[dataset]]\npath = "drawn"\n[[dataset]]\npath = "drawn"\nweight = 0', "dataset.1.weight: Input should be "),
        ('[[dataset]]\npath = "drawn"\nweight = "much"', "dataset.0.weight: Input should be a valid number"),
        ('[[dataset]]\npath = "drawn"\nweight = nan', "dataset.0.weight: Input should be "),
        ('[[dataset]]\npath = "drawn"\nignored_border = [0, 0, 0]', "dataset.0.ignored_border.3: Field required"),
        ('[[dataset]]\npath = "drawn"\nignored_border = [0, 0, 0, 0.6]', "ignored_border [0.0, 0.0, 0.0, 0.6]: give "),
        ('[[dataset]]\npath = "drawn"\nignored_border = [0, nan, 0, 0]', "ignored_border [0.0, nan, 0.0, 0.0]: give "),
        ('[[dataset]]\npath = "drawn"\ncutouts = "perhaps"', "dataset.0.cutouts: Input should be a valid boolean"),
        ('[[dataset]]\npath = "drawn"\nlabels = "bee"', "dataset.0.labels: Input should be a valid tuple"),
    ],
)
def test_a_mistake_in_a_mixture_file_is_named_with_its_place(drawn: Path, text: str, message: str) -> None:
    path = mixture(drawn.parent, text)
    with pytest.raises(InputError, match=re.escape(f"mixture {path}: {message}")) as error:
        read_training_sets(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('path = "nowhere"', "nowhere: there is no such file or folder"),
        ('path = "drawn"\nattribute = "wasps"', "wasps"),
        ('path = "drawn"\nlabels = ["wasp"]', "wasp"),
    ],
)
def test_a_dataset_of_a_mixture_file_that_cannot_be_read_is_named(drawn: Path, entry: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_training_sets(mixture(drawn.parent, f"[[dataset]]\n{entry}"))


def test_a_mixture_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mixture .*none\.toml: No such file or directory"):
        read_training_sets(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match=r"mixture .*folder\.toml: Is a directory"):
        read_training_sets(str(tmp_path / "folder.toml"))
    (tmp_path / "latin.toml").write_bytes(b'[[dataset]]\npath = "\xe9"')
    with pytest.raises(InputError, match=r"mixture .*latin\.toml: not TOML"):
        read_training_sets(str(tmp_path / "latin.toml"))


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(LABEL, max_size=2, unique=True),
    weight=st.none() | st.floats(1e-6, 1000),
)
def test_the_text_form_names_path_labels_and_weight(drawn: Path, labels: list[str], weight: float | None) -> None:
    text = str(drawn)
    if labels:
        text += "=" + ",".join(["bee", *(label for label in labels if label != "bee")])
    if weight is None and "@" in text:
        weight = 1.0  # the last @ begins the weight
    if weight is not None:
        text += f"@{weight!r}"
    (part,) = read_training_sets(text)
    assert part.weight == (1.0 if weight is None else weight)
    assert set(part.dataset.labels) == {"bee", *labels}
    assert len(part.dataset.images) == 3


@settings(deadline=None, max_examples=100)
@given(weight=st.text(st.characters(exclude_characters="\x00@", exclude_categories=["Cs"]), max_size=12))
def test_a_weight_is_a_number_or_is_refused_in_one_line(drawn: Path, weight: str) -> None:
    text = f"{drawn}@{weight}"
    if text.endswith(".toml") or "=" in weight:
        return
    try:
        (part,) = read_training_sets(text)
    except InputError as error:
        # Both outcomes are right, and each is tested.
        assert str(error).startswith("data '")  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert 0 < part.weight <= 1000
        assert part.weight == float(weight)


def test_a_path_with_an_at_sign_is_a_path_if_it_is_there(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "bees@2").symlink_to(drawn)
    (part,) = read_training_sets(str(tmp_path / "bees@2"))
    assert part.weight == 1
    (part,) = read_training_sets(f"{tmp_path / 'bees@2'}@3")
    assert part.weight == 3


def test_attribute_option_applies_to_datasets_without_one(drawn: Path) -> None:
    (part,) = read_training_sets(str(drawn), attribute="bees")
    assert len(part.dataset.images) == 3
    with pytest.raises(InputError, match="wasps"):
        read_training_sets(str(drawn), attribute="wasps")
    own = mixture(drawn.parent, '[[dataset]]\npath = "drawn"\nattribute = "bees"')
    assert len(read_training_sets(own, attribute="wasps")[0].dataset.images) == 3
    with pytest.raises(InputError, match="wasps"):
        read_training_sets(mixture(drawn.parent, '[[dataset]]\npath = "drawn"'), attribute="wasps")
