"""Tables of labels as spreadsheets, programs and people write them."""

import pytest

from tests.field.drawn import photograph
from tests.pipeline.test_init import both, data_of, found
from wsss.data import DataConfig, load_records
from wsss.data.config import CSVFormat, in_brackets
from wsss.pipeline.init import init

NAMES = [f"shots/{i:02}.jpg" for i in range(16)]
LABELS = ["cat", "dog", "cat dog", ""]
WANTED = {f"{i:02}": set(LABELS[i % 4].split()) for i in range(16)}
"""What every table below says."""


@pytest.fixture
def shots(tmp_path):
    for i, name in enumerate(NAMES):
        photograph(tmp_path / "data" / name, seed=i)
    return tmp_path / "data"


def rows(line: str = "{name},{labels}", header: str = "image,labels") -> str:
    """A table of all photographs; a line may name the fields below."""
    lines = []
    for i, name in enumerate(NAMES):
        labels = LABELS[i % 4]
        flags = [name in labels.split() for name in ("cat", "dog")]
        fields = {
            "name": name, "file": name.split("/")[1], "stem": f"{i:02}", "labels": labels, "i": i,
            "cat": flags[0], "dog": flags[1], "one": int(flags[0]), "two": int(flags[1]),
            "list": str(labels.split()), "semi": labels.replace(" ", ";"),
            "yes": "yes" if flags[0] else "no", "x": "x" if flags[1] else "",
        }  # fmt: skip
        lines.append(line.format(**fields))
    return "\n".join([header, *lines]) + "\n"


def long_rows() -> str:
    """A row for each label; a photograph without one has none to say."""
    lines = ["image,label"]
    for i, name in enumerate(NAMES):
        lines += [f"{name},{label}" for label in LABELS[i % 4].split() or [""]]
    return "\n".join(lines)


ONE_HOT = "image,cat,dog"
READ = {
    "plain": rows(),
    "mark": "\ufeff" + rows(),
    "utf-16": rows().encode("utf-16"),
    "utf-16 by hand": rows().replace(",", "\t").encode("utf-16"),
    "utf-32": rows().encode("utf-32"),
    "empty columns": rows("{name},{labels},,", "image,labels,,"),
    "fields without a header": rows("{name},{labels},,"),
    "empty rows": rows() + "\n,,\n ,\n",
    "a row a label": long_rows(),
    "a row twice": rows() + f"{NAMES[0]},cat\n",
    "sep": "sep=;\n" + rows("{name};{labels}", "image;labels"),
    "sep in quotes": '"sep=;"\n' + rows("{name};{labels}", "image;labels"),
    "index": rows("{i},{name},{labels}", ",image,labels"),
    "named index": rows("{i},{name},{labels}", "Unnamed: 0,image,labels"),
    "backslashes": rows().replace("shots/", "shots\\"),
    "dots": rows("./{name},{labels}"),
    "dots and backslashes": rows(".\\{name},{labels}").replace("shots/", "shots\\"),
    "names": rows("{file},{labels}"),
    "stems": rows("{stem},{labels}"),
    "spaces": rows(" {name} , {labels} ", " image , labels "),
    "another column": rows("{name},{labels},Ann", "image,labels,photographer"),
    "True": rows("{name},{cat},{dog}", ONE_HOT),
    "yes and x": rows("{name},{yes},{x}", ONE_HOT),
    "floats": rows("{name},{one}.0,{two}.0", ONE_HOT),
    "flags and an index": rows("{i},{name},{one},{two}", "," + ONE_HOT),
    "flags and a column of texts": rows("{name},{one},{two},Ann{i}", ONE_HOT + ",photographer"),
    "flags and a number": rows("{name},{one},{two},{i}", ONE_HOT + ",shutter"),
    "Python's lists": rows('{name},"{list}"'),
    "JSON's lists": rows('{name};{list}', "image;labels").replace("'", '"'),
    "semicolons": rows("{name},{semi}"),
    "nan": rows().replace(",\n", ",nan\n"),
    "None": rows().replace(",\n", ",None\n"),
    "background": rows().replace(",\n", ",background\n"),
    "CRLF": rows().replace("\n", "\r\n"),
    "tabs": rows("{name}\t{labels}", "image\tlabels"),
    "in quotes": rows('"{name}","{labels}"', '"image","labels"'),
}  # fmt: skip


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_what_has_one_meaning_is_read(shots, tmp_path, content):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    (shots / "labels.csv").write_bytes(raw)
    init(shots, tmp_path / "out")
    said = {
        image_id.rpartition("/")[2]: names for image_id, names in both(tmp_path / "out").items()
    }
    assert said == WANTED
    assert set(data_of(tmp_path / "out").classes) == {"cat", "dog"}


def test_a_class_that_is_called_as_an_image(shots, tmp_path):
    """Its column is no image, and the table has a header."""
    (shots / "labels.csv").write_text(rows("{name},{one},{two}", "image,00,dog"))
    init(shots, tmp_path / "out")
    assert set(data_of(tmp_path / "out").classes) == {"00", "dog"}
    (shots / "labels.csv").write_text(rows("{stem},{labels}").partition("\n")[2])
    with pytest.raises(ValueError, match="begins with the image '00' and no header"):
        init(shots, tmp_path / "out2")


def test_whole_paths_of_this_machine(shots, tmp_path):
    lines = [f"{shots / name},{LABELS[i % 4]}" for i, name in enumerate(NAMES)]
    (shots / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    init(shots, tmp_path / "out")
    assert {i.rpartition("/")[2]: names for i, names in both(tmp_path / "out").items()} == WANTED
    assert not any(name.startswith("/") for name in both(tmp_path / "out"))


NOT_READ = {
    "no header": (rows().partition("\n")[2], "begins with the image 'shots/00.jpg' and no header"),
    "cp1252": (rows().replace("cat", "chien é").encode("cp1252"),
               "line 2: not UTF-8: .*; save it as UTF-8"),
    "half of UTF-16": (rows().encode("utf-16")[:-1], "not UTF-16: truncated data"),
    "6 of 16": (rows().replace("shots/0", "other/0", 10),
                "of the images in its column 'image', 6 of 16 are there; 'other/00.jpg' is not"),
    "another machine": (rows("C:\\Users\\Ann\\{file},{labels}"),
                        r"column 'image' has 'C:\\+Users.*a path of another place"),
    "another home": (rows("/home/ann/{file},{labels}"), "a path of another place"),
    "two columns": (rows("{name},a{i},b{i}", "image,species,place"),
                    "which of its columns 'species', 'place' holds the labels"),
    "no column": (rows("{name}", "image"), "no column of labels beside 'image'"),
    "no rows": ("image,labels\n", "no row below its header"),
    "empty": ("", "no row below its header"),
    "an open quote": (rows() + 'x,"cat', "line 18: not a CSV file: unexpected end"),
    "a text without a column": (rows() + "x,cat,dog,owl\n", "line 18: more fields than columns"),
    "a text under no name": (rows("{name},{labels},", "image,labels,") + "x,cat,well\n",
                             "line 18: 'well' stands in column 3, which has no name"),
    "two columns of one name": (rows("{name},{labels},{labels}", "image,labels,labels"),
                                "two columns are called 'labels'"),
    "no image": (rows("n{i},{labels}"), "no column names images that are there"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), NOT_READ.values(), ids=NOT_READ)
def test_what_is_not_read_is_named_with_the_reason(shots, tmp_path, content, words):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    (shots / "what.csv").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"nothing says .*not used: what\.csv: .*{words}"):
        init(shots, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_names_of_a_few_images_are_no_table(tmp_path):
    """A table of weather by day, in a folder of 1.jpg, 2.jpg, ..."""
    for i in range(12):
        photograph(tmp_path / f"data/{('cat', 'owl')[i % 2]}/{i}.jpg", seed=i)
    (tmp_path / "data/weather.csv").write_text("day,rain\n2,0\n4,1\n")
    text = init(tmp_path / "data", tmp_path / "out")
    assert "not used: weather.csv: its column 'day' has no file names" in text
    assert set(data_of(tmp_path / "out").classes) == {"cat", "owl"}


def test_a_spreadsheet_is_named(shots, tmp_path):
    (shots / "labels.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"not used: labels\.xlsx: a spreadsheet; save it as CSV"):
        init(shots, tmp_path / "out")


class TestContradictions:
    def config(self, root, text, **changes):
        (root / "labels.csv").write_text(text)
        return DataConfig(root=root, layout="csv", classes={"cat": 1, "dog": 2}, **changes)

    @pytest.mark.parametrize(
        "text",
        [
            "image,labels,split\na,cat,t\na,,t\n",
            "image,labels,split\na,cat,t\na,cat,v\n",
            "image,cat,dog,split\na,1,0,t\na,0,1,t\n",
            "image,labels,split,mask\na,cat,t,x.png\na,dog,t,y.png\n",
        ],
    )
    def test_of_two_rows_are_refused(self, tmp_path, text):
        with pytest.raises(ValueError, match=r"line 3: image 'a' is listed twice .*line 2.*alike"):
            load_records(self.config(tmp_path, text), "t", with_labels=True)

    def test_of_rows_alike_there_are_none(self, tmp_path):
        text = "image,cat,dog,split\na,1,0,t\na,1,0,t\n"
        assert len(load_records(self.config(tmp_path, text), "t", with_labels=True)) == 1


class TestLabelsTakenForSomethingElse:
    def init(self, root, tmp_path, labels):
        lines = [f"{name},{labels[i % len(labels)]}" for i, name in enumerate(NAMES)]
        (root / "labels.csv").write_text("\n".join(["image,labels", *lines]))
        text = init(root, tmp_path / "out")
        return set(data_of(tmp_path / "out").classes), text

    def test_a_name_of_two_words(self, shots, tmp_path):
        names, text = self.init(shots, tmp_path, ["Early blight", "Late blight", "healthy"])
        assert names == {"Early blight", "Late blight", "healthy"}
        assert "please check: labels.csv: 'Early blight' is read as one name" in text

    @pytest.mark.parametrize(
        ("labels", "names", "asked"),
        [
            (["cat", "dog", "cat dog"], {"cat", "dog"}, False),
            (["cat dog", "dog cat"], {"cat", "dog"}, True),
            (["cat dog", "cat", "owl"], {"cat", "dog", "owl"}, True),
            (["a b", "a c", "b c", "a d", "b d"], {"a", "b", "c", "d"}, True),
            (["big dog;cat", "owl"], {"big dog", "cat", "owl"}, False),
            (["leaf spot", "leaf spot"], {"leaf spot"}, True),
        ],
    )
    def test_what_a_space_means(self, shots, tmp_path, labels, names, asked):
        found_names, text = self.init(shots, tmp_path, labels)
        assert found_names == names
        assert ("set csv.separator to" in text) == asked

    @pytest.mark.parametrize(
        "twins", [["cat", "Cat"], ["early_blight", "early-blight"], ["ﬁsh", "fish"], ["A b", "a b"]]
    )
    def test_near_twins(self, shots, tmp_path, twins):
        _, text = self.init(shots, tmp_path, [f"{name};owl" for name in twins])
        first, second = sorted(twins)
        assert f"the classes {first!r} and {second!r} differ in nothing but how they are" in text

    def test_twins_among_folders(self, tmp_path):
        for name in ("cat", "Cat", "owl"):
            for i in range(3):
                photograph(tmp_path / f"data/{name}/{i}.jpg", seed=i)
        assert "the classes 'Cat' and 'cat' differ" in init(tmp_path / "data", tmp_path / "out")

    @pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "background", "N/A"])
    def test_words_for_nothing(self, shots, tmp_path, word):
        names, text = self.init(shots, tmp_path, ["cat", "dog", word])
        assert names == {"cat", "dog"}
        assert f"{word!r} is taken for no label" in text

    @pytest.mark.parametrize("word", ["Null", "None"])
    def test_unless_a_class_is_called_so(self, tmp_path, word):
        (tmp_path / "labels.csv").write_text(f"image,labels,split\na,{word},t\nb,cat,t\n")
        data = DataConfig(root=tmp_path, layout="csv", classes={"cat": 1, word: 2})
        first, second = load_records(data, "t", with_labels=True)
        assert (first.labels.tolist(), second.labels.tolist()) == ([0, 1], [1, 0])

    def test_numbers_are_said(self, shots, tmp_path):
        names, text = self.init(shots, tmp_path, ["0", "1"])
        assert names == {"0", "1"}
        assert "please check: the classes are called '0', '1'" in text


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("['cat', 'big dog']", ["cat", "big dog"]),
        ('["cat","dog"]', ["cat", "dog"]),
        ("['cat' 'dog']", ["cat", "dog"]),
        ("[cat, dog]", ["cat", "dog"]),
        ("[]", []),
        ("{'cat'}", ["cat"]),
        ("('cat',)", ["cat"]),
        ('["d\'or"]', ["d'or"]),
        ("cat dog", None),
        ("(other)", None),
        ("", None),
    ],
)
def test_lists_in_a_cell(cell, names):
    assert in_brackets(cell) == names
    if names is not None:
        assert CSVFormat().names(cell) == names


class TestAFileForEachSplit:
    def write(self, root, header="image,labels", splits=("train", "valid"), place="{}.csv"):
        for number, split in enumerate(splits):
            lines = [header]
            for i in range(6):
                photograph(root / f"{split}/{i}.jpg", seed=10 * number + i)
                flags = {"image,labels": ("cat", "dog")[i % 2], "filename, cat, dog": f"{i % 2}, 1"}
                lines.append(f"{i}.jpg,{flags[header]}")
            path = root / place.format(split)
            path.write_text("\n".join(lines))

    @pytest.mark.parametrize("place", ["{}.csv", "labels_{}.csv", "{}/labels.csv", "{0}/{0}.csv"])
    @pytest.mark.parametrize("splits", [("train", "valid"), ("Train", "Test"), ("train", "val")])
    def test_all_are_used(self, tmp_path, place, splits):
        self.write(tmp_path / "data", place=place, splits=splits)
        init(tmp_path / "data", tmp_path / "out")
        for split in splits:
            assert found(tmp_path / "out", split) == {
                str(i): {("cat", "dog")[i % 2]} for i in range(6)
            }

    def test_as_roboflow_exports_several_classes(self, tmp_path):
        self.write(tmp_path / "data", "filename, cat, dog", place="{}/_classes.csv")
        init(tmp_path / "data", tmp_path / "out")
        assert found(tmp_path / "out", "valid")["1"] == {"cat", "dog"}
        assert found(tmp_path / "out", "train")["0"] == {"dog"}

    def test_one_without_labels_is_named(self, tmp_path):
        """As a competition hands them out."""
        self.write(tmp_path / "data")
        lines = [f"{i}.jpg" for i in range(6)]
        (tmp_path / "data/valid.csv").write_text("\n".join(["image", *lines]))
        text = init(tmp_path / "data", tmp_path / "out")
        assert "not used: valid.csv: it has no column of labels beside 'image'" in text
        assert len(both(tmp_path / "out")) == 6

    def test_two_of_no_split(self, tmp_path):
        self.write(tmp_path / "data", splits=("a", "b"))
        text = init(tmp_path / "data", tmp_path / "out")
        assert "not used: b.csv: a.csv is used" in text
