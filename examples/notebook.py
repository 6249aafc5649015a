"""A notebook as a script: open it in VS Code, PyCharm or Jupyter (with jupytext) and run it cell by cell.

Needs the extra `evaluate`: pip install '.[evaluate]'.
"""

# %% [markdown]
# # Bees in a synthetic scene
#
# The scene is drawn, so this needs no camera. Replace `synthetic:…` by your camera, video or folder of images.

# %%
import supervision as sv
from beeagent import Detector, open_camera

detector = Detector.load()
with open_camera("synthetic:640x480?live=no&frames=5&seed=3") as camera:
    frames = list(camera)
print(f"{len(frames)} frames of {frames[0].width}x{frames[0].height}")

# %% [markdown]
# ## Detections of one frame
# Boxes are ratios of the frame; `xyxy` has them in pixels. The arrays are NumPy's.

# %%
detections = detector.detect(frames[0].pixels)
for detection in detections:
    print(f"{detection.label} {detection.confidence:.2f} {detection.box}")
print(detections.xyxy(frames[0].size).round(1))

# %% [markdown]
# ## Other libraries have RGB
# Say so, or the model sees blue bees.

# %%
rgb = frames[0].pixels[:, :, ::-1]
same = detector.detect(rgb, channels="rgb")
print(f"the same {len(same)} detections: {(same.boxes == detections.boxes).all()}")

# %% [markdown]
# ## Tiles
# With tiles, the model runs on overlapping parts of the frame too, and finds smaller bees.

# %%
tiled = Detector.load(tiles="2x2")
for frame in frames:
    counts = [one.detect(frame.pixels).counts() for one in (detector, tiled)]
    print(f"frame {frame.index}: {counts[0]}, with tiles {counts[1]}")

# %% [markdown]
# ## Draw
# In a notebook, `sv.plot_image(scene)` shows it.

# %%
scene = sv.BoxAnnotator().annotate(frames[0].pixels.copy(), detections.to_supervision(frames[0].size))
print(f"drawn: {scene.shape}")
