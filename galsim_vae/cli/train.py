"""``galsim-vae train``: from a recipe to a weights file."""

from galsim_vae import settings
from galsim_vae.train.fit.pictures import PictureRecipe, train_pictures
from galsim_vae.train.fit.recipe import Recipe, train

from .call import Call

__all__ = ["Keys", "run"]

Keys = Recipe


def run(call: Call) -> None:
    """Train what a recipe says: of pictures if it names any, else of galaxies."""
    values = call.load("recipe, such as weights/candels.yaml")
    if "pictures" in values:
        recipe = settings.build(PictureRecipe, values)
        train_pictures(recipe, call.progress)
    else:
        recipe = Recipe.from_dict(values)
        train(recipe)
    call.wrote(recipe.output)
