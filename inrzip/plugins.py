"""Importing this makes imageio and Pillow open `.inrz` files: `import inrzip.plugins`."""

from imageio.config import FileExtension, PluginConfig, extension_list, known_extensions, known_plugins
from PIL import Image

from .pillow_plugin import FORMAT, InrzImageFile, accept

NAME = "inrzip"

if NAME not in known_plugins:
    known_plugins[NAME] = PluginConfig(NAME, "InrzPlugin", "inrzip.imageio_plugin")
    _extension = FileExtension(name="Fitted network", extension=".inrz", priority=[NAME])
    known_extensions[_extension.extension] = [_extension]
    extension_list.append(_extension)

Image.register_open(FORMAT, InrzImageFile, accept)
Image.register_extension(FORMAT, ".inrz")
