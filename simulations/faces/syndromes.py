"""Syndromes with a known facial gestalt, by OMIM number, and how often each facial term is seen.

A clinician's summary for simulation, in HPO terms and the frequency classes of HPO annotations; it is no
reference for diagnosis, and synthetic accuracy says nothing of accuracy on patients.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulations.faces.hpo import TERMS

VERY_FREQUENT, FREQUENT, OCCASIONAL = 0.9, 0.6, 0.25  # 80-99 %, 30-79 %, 5-29 % of patients


@dataclass(frozen=True)
class FacialSyndrome:
    """``frequency``: HPO id -> share of patients who show the term."""

    omim: int
    name: str
    frequency: dict[str, float]

    @property
    def identifier(self) -> str:
        return f"OMIM:{self.omim}"

    @property
    def male_share(self) -> float:
        """X-linked disorders are mostly seen in boys; their numbers in OMIM begin with 3."""
        return 0.88 if str(self.omim).startswith("3") else 0.5


def _syndrome(omim: int, name: str, very: str, frequent: str = "", occasional: str = "") -> FacialSyndrome:
    frequency: dict[str, float] = {}
    for terms, share in ((very, VERY_FREQUENT), (frequent, FREQUENT), (occasional, OCCASIONAL)):
        for number in terms.split():
            if f"HP:{number}" not in TERMS:
                raise KeyError(f"HP:{number} of {name}")
            frequency[f"HP:{number}"] = share
    return FacialSyndrome(omim, name, frequency)


# Ordered so that the first ten, which small simulations take, are commonly named and well apart.
SYNDROMES: tuple[FacialSyndrome, ...] = (
    _syndrome(
        122470,
        "Cornelia de Lange syndrome 1",
        "0000664 0002553 0000527 0000343 0000219 0000463",
        "0000574 0002714 0000347 0000294 0005280 0000252 0000319",
        "0000369 0000508",
    ),
    _syndrome(
        194050,
        "Williams-Beuren syndrome",
        "0000154 0000629 0000343 0000179 0000293",
        "0005280 0000463 0000414 0000687 0000486 0012471 0000347",
        "0000337 0000286",
    ),
    _syndrome(
        163950,
        "Noonan syndrome 1",
        "0000316 0000494 0000369 0000508",
        "0002002 0000325 0000348 0000520 0000286 0005280",
        "0000347 0002263",
    ),
    _syndrome(
        147920,
        "Kabuki syndrome 1",
        "0000637 0007655 0002553 0005338",
        "0000400 0000411 0005280 0000527 0000455",
        "0000508 0000286 0000486",
    ),
    _syndrome(
        190685,
        "Down syndrome",
        "0000582 0000286 0005280 0000311",
        "0003196 0000194 0008551 0011800",
        "0000252 0000486 0000369",
    ),
    _syndrome(
        154500,
        "Treacher Collins syndrome 1",
        "0000494 0000272 0000652 0000347",
        "0008551 0000426 0000154 0000275",
        "0000316",
    ),
    _syndrome(
        105830,
        "Angelman syndrome",
        "0000154 0000687 0000194 0000303",
        "0000490 0000252 0000219 0000307",
        "0000486 0011800",
    ),
    _syndrome(
        136140,
        "Floating-Harbor syndrome",
        "0009765 0000490 0000322 0000219",
        "0003189 0000414 0000325 0000154 0000446",
        "0000294 0000527",
    ),
    _syndrome(
        117550,
        "Sotos syndrome 1",
        "0000348 0000256 0000307 0000276",
        "0000494 0009890 0002007 0045075 0008070",
        "0000316",
    ),
    _syndrome(
        135900,
        "Coffin-Siris syndrome 1",
        "0000280 0000574 0012471 0000154",
        "0000527 0000455 0000294 0005280 0000463",
        "0000508 0000343 0008070",
    ),
    _syndrome(
        180849,
        "Rubinstein-Taybi syndrome 1",
        "0009765 0000444 0000494 0002553",
        "0000527 0000347 0000252 0000426 0000294",
        "0000508 0000286 0000486",
    ),
    _syndrome(
        182290,
        "Smith-Magenis syndrome",
        "0000283 0000321 0010804 0011800",
        "0000490 0000303 0000664 0000582 0005280",
        "0000486 0002714",
    ),
    _syndrome(
        188400,
        "22q11.2 deletion syndrome (DiGeorge)",
        "0000276 0000430 0000426 0000160",
        "0012745 0000347 0000414 0000272 0000506",
        "0000369 0000508 0000582",
    ),
    _syndrome(
        176270,
        "Prader-Willi syndrome",
        "0000341 0000219 0002714",
        "0000446 0000293 0000582 0000160",
        "0000486 0000286",
    ),
    _syndrome(
        194190,
        "Wolf-Hirschhorn syndrome",
        "0000316 0000431 0000322 0002553 0002714",
        "0000348 0000252 0000347 0000520 0000426",
        "0000369 0000286 0000508 0000324",
    ),
    _syndrome(
        235730,
        "Mowat-Wilson syndrome",
        "0000307 0000316 0000490 0002553",
        "0000455 0009765 0000194 0000400 0000303",
        "0000252 0000486",
    ),
    _syndrome(
        610954,
        "Pitt-Hopkins syndrome",
        "0000490 0000154 0002263 0000455",
        "0012471 0000687 0000426 0000411 0002002",
        "0000252 0000486 0045075",
    ),
    _syndrome(
        601358,
        "Nicolaides-Baraitser syndrome",
        "0008070 0000179 0000154",
        "0000325 0000430 0000343 0000463 0045075 0000294",
        "0000252 0000446",
    ),
    _syndrome(
        610443,
        "Koolen-de Vries syndrome",
        "0000276 0000582 0000414 0000581",
        "0000348 0000508 0000337 0000194 0000286",
        "0000411 0000486",
    ),
    _syndrome(
        148050,
        "KBG syndrome",
        "0000325 0000664 0000343 0000463",
        "0000574 0000414 0000316 0000219 0000400",
        "0000637 0000294 0000256",
    ),
    _syndrome(
        303600,
        "Coffin-Lowry syndrome",
        "0000280 0000316 0000494 0000179 0000194",
        "0005280 0000445 0000463 0000303 0002007",
        "0000687 0000411",
    ),
    _syndrome(
        123450,
        "Cri-du-chat syndrome",
        "0000316 0000311 0000252 0000286",
        "0000494 0000347 0000431 0002714 0000369",
        "0000486 0000324",
    ),
    _syndrome(
        180860,
        "Silver-Russell syndrome 1",
        "0000325 0011220 0002714",
        "0000347 0000219 0000307 0000256",
        "0000324 0000369",
    ),
    _syndrome(
        101400,
        "Saethre-Chotzen syndrome",
        "0000508 0000324 0000294",
        "0000316 0008551 0000272 0000446 0000337",
        "0000486 0000494",
    ),
    _syndrome(
        123500,
        "Crouzon syndrome",
        "0000520 0011800 0000316",
        "0000303 0000444 0000486 0000322",
        "0002007 0000494",
    ),
    _syndrome(
        305400,
        "Aarskog-Scott syndrome",
        "0000316 0000343 0000463 0000311",
        "0000508 0000494 0003196 0000431 0000337",
        "0000369 0000154",
    ),
    _syndrome(
        309900,
        "Mucopolysaccharidosis type II",
        "0000280 0000256 0012471 0000445",
        "0005280 0000574 0000293 0000687 0002007",
        "0000194 0000664",
    ),
    _syndrome(
        605130,
        "Wiedemann-Steiner syndrome",
        "0000574 0000527 0000316 0000581",
        "0000431 0000219 0000494 0000343 0000294",
        "0000508 0000664 0002553",
    ),
    _syndrome(
        300624,
        "Fragile X syndrome",
        "0000276 0000400 0000411",
        "0000303 0000275 0000348 0000256",
        "0000486 0000490",
    ),
    _syndrome(
        190350,
        "Trichorhinophalangeal syndrome type I",
        "0000414 0000343 0008070 0000219",
        "0005338 0000411 0003189 0009890",
        "0000307 0000325",
    ),
    _syndrome(
        110100,
        "Blepharophimosis, ptosis and epicanthus inversus",
        "0000581 0000508 0000286 0000506",
        "0005280 0002553",
        "0000369",
    ),
    _syndrome(
        243310,
        "Baraitser-Winter syndrome 1",
        "0000316 0000508 0002553 0000431",
        "0000637 0003196 0000414 0000463 0000343",
        "0000307 0000219 0000252",
    ),
    _syndrome(
        305100,
        "X-linked hypohidrotic ectodermal dysplasia 1",
        "0008070 0045075 0002007 0012471",
        "0005280 0000430 0000272 0000687",
        "0000411 0000307",
    ),
    _syndrome(
        118450,
        "Alagille syndrome 1",
        "0000337 0000490 0000307",
        "0000325 0003189 0000316 0000414",
        "0000426 0000582",
    ),
    _syndrome(
        216550,
        "Cohen syndrome",
        "0000322 0000194 0000574 0000527",
        "0000494 0000294 0000414 0000252 0000426",
        "0000272 0000347",
    ),
    _syndrome(
        610253,
        "Kleefstra syndrome 1",
        "0011800 0000664 0000303 0000463",
        "0000252 0002553 0010804 0000179 0000582",
        "0000316 0000280",
    ),
)

BY_OMIM = {syndrome.omim: syndrome for syndrome in SYNDROMES}
