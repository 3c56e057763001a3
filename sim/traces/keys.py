"""Keys of a trace: labels that are not kept, only distinguished."""

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.traces.blocks import Cells
from sim.traces.numbers import BLANKS


def hashed(cells: Cells) -> NDArray[np.uint64]:
    """Return a hash of each label, shape (rows,); 0 for a blank one."""
    coded = pc.dictionary_encode(cells)
    labels = np.array(coded.dictionary.to_pylist(), dtype=object)
    hashes = pd.util.hash_array(labels, categorize=False) if len(labels) else np.zeros(0, np.uint64)
    hashes = np.where(np.isin(labels, BLANKS), np.uint64(0), np.maximum(hashes, np.uint64(1)))
    found: NDArray[np.uint64] = hashes[np.asarray(coded.indices)]
    return found


def numbered(hashes: NDArray[np.uint64] | None) -> tuple[NDArray[np.int64] | None, int]:
    """Return keys numbered from 0 in order of appearance, -1 for a blank one, and how many there are."""
    if hashes is None:
        return None, 0
    blank = hashes == 0
    if blank.all():
        return None, 0
    codes = np.full(len(hashes), -1, dtype=np.int64)
    found, labels = pd.factorize(hashes[~blank])
    codes[~blank] = found
    return codes, len(labels)
