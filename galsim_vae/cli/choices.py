"""``galsim-vae choices``: what each choice of a recipe is worth."""

from galsim_vae.train.check.choices import compare
from galsim_vae.train.fit.recipe import Recipe

from .call import Call

__all__ = ["Keys", "run"]

Keys = Recipe


def run(call: Call) -> None:
    """Train variants of a recipe for a short time and compare them."""
    recipe = Recipe.from_dict(call.load("recipe, such as weights/candels.yaml"))
    compare(recipe).pprint_all()
    call.wrote(recipe.work / "choices.ecsv")
