"""Which files a function may be made of."""

from pathlib import Path

import pytest

from outlast.engines import reach


def test_a_shared_folder_that_is_a_link_to_itself_holds_nothing(tmp_path: Path) -> None:
    shared = tmp_path / reach.SHARED
    shared.symlink_to(shared.name)
    module = tmp_path / "hello/index.ts"
    assert not reach.is_shared_data(module, tmp_path)
    assert reach.beyond([module], own=[module.parent, shared], root=tmp_path) == []
    with pytest.raises(reach.OutOfReach):
        reach.beyond([Path("/elsewhere.ts")], own=[module.parent, shared], root=tmp_path)
