import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roboscape.tokenizer.codes import (
    bits_to_code,
    code_to_bits,
    code_to_vectors,
    join_factors,
    split_factors,
    vectors_to_code,
)

CODES = st.lists(st.integers(0, 2**18 - 1), min_size=1, max_size=20)


@given(CODES)
def test_bits_vectors_and_factors_undo_each_other(values):
    codes = torch.tensor(values, dtype=torch.int32)
    assert torch.equal(bits_to_code(code_to_bits(codes, code_bits=18)), codes)
    assert torch.equal(vectors_to_code(code_to_vectors(codes, code_bits=18)), codes)
    assert torch.equal(join_factors(split_factors(codes, code_bits=18), code_bits=18), codes)
    assert torch.equal(
        join_factors(split_factors(codes, code_bits=18, factors=6), code_bits=18), codes
    )


def test_the_layout_is_the_documented_one():
    code = torch.tensor([(3 << 9) | 5], dtype=torch.int32)
    assert split_factors(code, code_bits=18).tolist() == [[5, 3]]
    bits = code_to_bits(code, code_bits=18)[0].tolist()
    assert [j for j, bit in enumerate(bits) if bit] == [0, 2, 9, 10]
    vector = code_to_vectors(code, code_bits=18)[0]
    assert vector[0] == 1 and vector[1] == -1


def test_factors_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="18 code bits"):
        split_factors(torch.zeros(1, dtype=torch.int32), code_bits=18, factors=4)
