"""Composition: bases side by side, their products, and what each part is called."""

import pickle

import numpy as np
import pynapple as nap
import pytest
from sklearn.base import clone

from spikax import basis


class TestAddition:
    """Bases side by side."""

    both = basis.BSplineEval(5, label="place") + basis.RaisedCosineLogConv(3, window_size=8)

    def test_features_stand_side_by_side(self, rng):
        place, spikes = rng.random(30), rng.poisson(1, (30, 2))
        X = self.both.compute_features(place, spikes)
        left = self.both["place"].compute_features(place)
        right = self.both["RaisedCosineLogConv"].compute_features(spikes)
        np.testing.assert_array_equal(X, np.hstack([left, right]))
        assert self.both.n_basis_funcs == 8
        assert self.both.n_output_features == X.shape[1] == 11

    def test_features_and_coefficients_can_be_split_again(self, rng):
        place, spikes = rng.random(30), rng.poisson(1, (30, 2))
        X = self.both.compute_features(place, spikes)
        blocks = self.both.split_by_feature(X)
        shapes = {label: block.shape for label, block in blocks.items()}
        assert shapes == {"place": (30, 5), "RaisedCosineLogConv": (30, 2, 3)}
        joined = np.hstack([block.reshape(30, -1) for block in blocks.values()])
        np.testing.assert_array_equal(joined, X)
        coef = self.both.split_by_feature(np.asarray(X).T, axis=0)
        assert coef["RaisedCosineLogConv"].shape == (2, 3, 30)

    def test_pynapple_survives_adding_and_splitting(self, rng):
        x = nap.Tsd(np.arange(30.0), rng.random(30))
        X = self.both.compute_features(x, rng.random((30, 2)))
        assert isinstance(X, nap.TsdFrame)
        split = self.both.split_by_feature(X)
        assert isinstance(split["place"], nap.TsdFrame)
        assert isinstance(split["RaisedCosineLogConv"], nap.TsdTensor)

    def test_the_grid_has_an_axis_for_each_input(self):
        place, lag, evaluated = self.both.evaluate_on_grid(6, 7)
        assert place.shape == lag.shape == (6, 7)
        assert evaluated.shape == (6, 7, 8)

    def test_default_labels_are_numbered_and_labels_of_users_unique(self):
        three = basis.BSplineEval(4) + basis.BSplineEval(5) + basis.BSplineEval(6)
        assert three["BSplineEval_1"].n_basis_funcs == 5
        assert three["BSplineEval_2"].n_basis_funcs == 6
        with pytest.raises(ValueError, match="label 'x' is given to two parts"):
            _ = basis.BSplineEval(4, label="x") + basis.BSplineEval(5, label="x")
        with pytest.raises(KeyError, match="No part is labelled 'speed'"):
            _ = three["speed"]
        with pytest.raises(TypeError):
            _ = three + 1

    def test_adding_leaves_the_bases_that_are_added_alone(self):
        one = basis.BSplineEval(5)
        twice = one + one
        twice.setup_basis([0.0, 1.0], [0.0, 10.0])
        assert twice["BSplineEval"].bounds_ == (0, 1)
        assert twice["BSplineEval_1"].bounds_ == (0, 10)
        assert one.bounds_ is None
        one.compute_features([2.0, 3.0])
        assert twice["BSplineEval"].bounds_ == (0, 1)
        assert (one + twice)["BSplineEval"].bounds_ == (2, 3)

    def test_inputs_that_do_not_fit_are_refused(self):
        ones = np.ones(30)
        with pytest.raises(TypeError, match=r"1 inputs were given, but 2 are needed.*: place, R"):
            self.both.compute_features(ones)
        with pytest.raises(ValueError, match="the same number of samples"):
            self.both.compute_features(ones, np.ones(29))
        with pytest.raises(ValueError, match="different time axes"):
            self.both.compute_features(
                nap.Tsd(np.arange(30), ones), nap.Tsd(1 + np.arange(30), ones)
            )


def rowwise_kronecker(one, other):
    return np.array([np.kron(a, b) for a, b in zip(one, other, strict=True)])


A = basis.BSplineEval(5, bounds=(0, 1), label="a")
B = basis.CyclicBSplineEval(6, bounds=(0, 1), label="b")
C = basis.RaisedCosineLogConv(3, window_size=4, label="c")


def features(one, *xs):
    return np.asarray(one.compute_features(*xs))


class TestProduct:
    """All products of functions."""

    def test_it_is_the_kronecker_product_of_each_row(self, rng):
        x, y = rng.random((2, 30))
        expected = rowwise_kronecker(features(A, x), features(B, y))
        np.testing.assert_allclose(features(A * B, x, y), expected, atol=1e-6)
        assert (A * B).n_basis_funcs == 30

    def test_channels_are_multiplied_one_by_one(self, rng):
        x, y = rng.random((2, 30, 3))
        product = A * B
        X = features(product, x, y)
        alone = [features(A * B, x[:, c], y[:, c]) for c in range(3)]
        np.testing.assert_allclose(X, np.hstack(alone), atol=1e-6)
        assert product.split_by_feature(X)["(a * b)"].shape == (30, 3, 30)
        with pytest.raises(ValueError, match=r"need the same channels.*'a': \(2,\), 'b': \(\)"):
            product.compute_features(x[:, :2], y[:, 0])

    def test_it_nests(self, rng):
        x, y, z = rng.random((3, 30))
        nested = (A + B) * C
        expected = rowwise_kronecker(np.hstack([features(A, x), features(B, y)]), features(C, z))
        np.testing.assert_allclose(features(nested, x, y, z), expected, atol=1e-6)
        other = basis.IdentityEval(label="d")
        deep = (nested + other) * basis.IdentityEval(label="e") + basis.Zero()
        w = 1 + z
        got = features(deep, x, y, z, y, w, x)
        both = np.hstack([expected, y[:, None]]) * w[:, None]
        np.testing.assert_allclose(got, both, atol=1e-5)
        assert list(deep.split_by_feature(got)) == ["((((a + b) * c) + d) * e)", "Zero"]
        assert deep["(a + b)"].n_basis_funcs == 11
        assert deep["c"].window_size == 4
        assert deep.n_output_features == got.shape[1] == deep.n_basis_funcs


class TestRepetition:
    """`3 * a` and `a ** 2`."""

    def test_a_multiple_is_a_sum_of_copies(self, rng):
        x = rng.random((3, 20))
        triple = 3 * basis.BSplineEval(5)
        assert triple.label == "((BSplineEval + BSplineEval_1) + BSplineEval_2)"
        summed = basis.BSplineEval(5) + basis.BSplineEval(5) + basis.BSplineEval(5)
        np.testing.assert_array_equal(features(triple, *x), features(summed, *x))
        labelled = 3 * A
        X = labelled.compute_features(*x)
        assert list(labelled.split_by_feature(X)) == ["a", "a_1", "a_2"]

    def test_a_power_is_a_product_of_copies(self, rng):
        x, y = rng.random((2, 20))
        square = A**2
        expected = rowwise_kronecker(features(A, x), features(A, y))
        np.testing.assert_allclose(features(square, x, y), expected, atol=1e-6)
        assert square.label == "(a * a_1)"
        assert (A**1).label == "a"
        assert (2 * (A * B)).label == "((a * b) + (a_1 * b_1))"

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: 0 * A, ValueError, "whole numbers from 1 on, not 0"),
            (lambda: -2 * A, ValueError, "not -2"),
            (lambda: 1.5 * A, TypeError, "whole number or a basis, not 1.5"),
            (lambda: True * A, TypeError, "not True"),
            (lambda: A**0, ValueError, "exponent of a basis"),
            (lambda: A**B, TypeError, "exponent of a basis"),
            (lambda: A + "b", TypeError, "unsupported operand"),
        ],
    )
    def test_other_numbers_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class TestLabels:
    """What parts are called, and what can be set by that name."""

    def test_users_labels_come_first(self):
        both = basis.BSplineEval(4) + basis.BSplineEval(5, label="BSplineEval_1")
        three = both + basis.BSplineEval(6)
        assert three["BSplineEval_1"].n_basis_funcs == 5
        assert three["BSplineEval_2"].n_basis_funcs == 6
        whole = basis.AdditiveBasis(three, clone(A), label="all")
        assert whole.label == "all"
        assert whole["all"] is whole

    def test_parameters_are_set_by_label(self):
        nested = (A + B) * C
        params = nested.get_params()
        assert params["a__n_basis_funcs"] == 5
        assert params["b"] is nested["b"]
        nested.set_params(a__n_basis_funcs=7, c__window_size=9, label="all")
        assert nested["a"].n_basis_funcs == 7
        assert nested["c"].window_size == 9
        assert nested.label == "all"
        nested.set_params(a=basis.MSplineEval(4))
        assert nested["MSplineEval"].n_basis_funcs == 4
        with pytest.raises(ValueError, match="Invalid parameter 'z'"):
            nested.set_params(z__order=3)
        with pytest.raises(TypeError, match="replaced by a basis only"):
            nested.set_params(b=3)
        assert A.n_basis_funcs == 5

    def test_copies_keep_settings_and_channels_but_nothing_learned(self, rng):
        whole = (basis.BSplineEval(5, label="p") + C) * basis.MSplineEval(4)
        whole.setup_basis(*rng.random((3, 30, 2)))
        copy = clone(whole)
        assert repr(copy) == repr(whole)
        assert copy.input_shape == whole.input_shape == [(2,)] * 3
        assert copy["p"].bounds_ is None
        kept = pickle.loads(pickle.dumps(whole))["p"].bounds_
        np.testing.assert_array_equal(kept, whole["p"].bounds_)

    def test_shapes_may_be_set_before_data_are_seen(self):
        whole = basis.BSplineEval(5) + C + basis.MSplineEval(4)
        whole.set_input_shape(1, (3, 2), np.ones((10, 4)))
        assert whole.input_shape == [(), (3, 2), (4,)]
        assert whole.n_output_features == 5 + 18 + 16
        with pytest.raises(ValueError, match="is not the shape of a sample"):
            whole.set_input_shape(0, 1, 1)

    @pytest.mark.parametrize(
        ("label", "error"), [("a__b", ValueError), ("basis1", ValueError), (3, TypeError)]
    )
    def test_labels_that_cannot_work_are_refused(self, label, error):
        with pytest.raises(error, match="label is"):
            _ = basis.BSplineEval(5, label=label) + A

    def test_one_object_in_two_places_is_refused(self):
        with pytest.raises(ValueError, match="One object is in two places"):
            basis.AdditiveBasis(A, A).compute_features([0, 1], [0, 1])

    def test_wrong_numbers_of_inputs_are_told_by_label(self):
        waves = basis.FourierEval(3, ndim=2, label="box")
        with pytest.raises(TypeError, match=r"but 3 are needed.*: a, box\[0\], box\[1\]"):
            (A + waves).compute_features([0, 1])
        with pytest.raises(ValueError, match=r"box have samples of shapes \[\(\), \(2,\)\]"):
            waves.compute_features([0, 1], np.ones((2, 2)))
        with pytest.raises(ValueError, match="a: 2, box: 3"):
            (A + waves).compute_features([0, 1], [0, 1, 2], [0, 1, 2])
        with pytest.raises(ValueError, match="need the same one"):
            waves.evaluate([0, 1], [0, 1, 2])


def test_a_basis_has_as_many_entries_as_terms():
    assert len(A) == len(A * B) == len((A + B) * C) == 1
    whole = A + B * C + 2 * basis.Zero()
    assert len(whole) == 4
    assert [term.label for term in whole][:2] == ["a", "(b * c)"]
    assert next(iter(whole)) is whole["a"]
    assert list(A) == [A]


def test_missing_inputs_give_missing_rows_of_their_term_only(rng):
    x, y = rng.random((2, 20))
    x[3] = np.nan
    whole = A + B
    split = whole.split_by_feature(features(whole, x, y))
    assert np.isnan(split["a"]).any(axis=1).tolist() == [i == 3 for i in range(20)]
    assert not np.isnan(split["b"]).any()
    assert np.isnan(features(A * B, x, y)[3]).all()
