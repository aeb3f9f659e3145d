"""Items in a drift space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.testing import assert_array_equal

from stream.places import Places

if TYPE_CHECKING:
    from tests.conftest import Shop


def test_fitted_items_are_there_from_the_start_and_stay(shop: Shop) -> None:
    places = Places(shop.space)
    place = places.find("garden00")
    assert place is not None
    assert (place.position, place.segment) == (shop.space.position["garden00"], "Garden Thing")
    assert_array_equal(place.vector, shop.space.popular[place.position])
    places.put("garden00", shop.base[1])
    again = places.find("garden00")
    assert again is not None
    assert_array_equal(again.vector, place.vector)


def test_new_items_come_last_and_follow_their_text(shop: Shop) -> None:
    places = Places(shop.space)
    assert places.find("new") is None
    segments = []
    for text in (shop.base[0], shop.base[1]):
        places.put("new", text)
        place = places.find("new")
        assert place is not None
        assert place.position == 60
        segments.append(place.segment)
    assert segments == ["Garden Thing", "Toy Thing"]
