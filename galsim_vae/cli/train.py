"""``galsim-vae train``: from a recipe to a weights file."""

from galsim_vae.train.fit.recipe import Recipe, train

from .call import Call

__all__ = ["Keys", "run"]

Keys = Recipe


def run(call: Call) -> None:
    """Train what a recipe says."""
    recipe = Recipe.from_dict(call.load("recipe, such as weights/candels-small.yaml"))
    train(recipe)
    call.wrote(recipe.output)
