"""The forms in which one telephone number is dialled or shown."""

from calls.number_forms import forms_of, person_of
from tests.rows import each_row


@each_row(
    ("country", "forms"),
    [
        ("Mexico", ["+525512345678", "+5215512345678"]),
        ("Argentina", ["+541145678901", "+5491145678901"]),
        ("Brazil", ["+551181234567", "+5511981234567"]),
        ("Brazil, an old number that begins with 9", ["+556192345678", "+5561992345678"]),
        ("Benin", ["+22990112345", "+2290190112345"]),
        ("Ivory Coast, Moov", ["+22542345678", "+2250142345678"]),
        ("Ivory Coast, MTN", ["+22505123456", "+2250505123456"]),
        ("Ivory Coast, Orange", ["+22507123456", "+2250707123456"]),
        ("San Marino", ["+390549886377", "+3780549886377"]),
    ],
)
def test_one_number_has_the_same_forms_whichever_is_given(country, forms):
    for form in forms:
        assert forms_of(form) == set(forms), country
    assert len({person_of(form) for form in forms}) == 1


@each_row(
    "number",
    [
        "+442079460018",
        "+12125550123",
        "+551133334444",  # a landline in Brazil
        "+551178123456",  # trunked radio has eight digits
        "+5511978123456",
        "+2250507123456",  # of MTN, with the digits of an old number of Orange
        "+2252721234567",
        "+390612345678",
        "+5215512345",
        "anonymous",
    ],
)
def test_other_numbers_have_one_form(number):
    assert forms_of(number) == {number}
    assert person_of(number) == number
