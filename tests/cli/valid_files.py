"""A valid sweep with its recipes and data sets, for tests to spoil."""

from __future__ import annotations

from typing import Any

SWEEP: dict[str, Any] = {
    "sweep": "tiny",
    "title": "A title",
    "recipes": "recipes.yaml",
    "datasets": "datasets.yaml",
    "grids": [
        {
            "datasets": ["made"],
            "networks": ["mlp3x8"],
            "recipes": ["plain", "local"],
            "modules": [2, 3],
            "seeds": 2,
        },
        {
            "datasets": ["made", "digits"],
            "networks": ["resnet8"],
            "recipes": ["info"],
            "modules": [2],
            "seeds": [3, 5],
            "training": {
                "epochs": 4,
                "lr": 0.1,
                "schedule": "sequential",
                "precision": "bf16",
                "train_images": 20,
            },
        },
    ],
}
RECIPES: dict[str, Any] = {
    "training": {
        "paper": {
            "source": "a paper",
            "set": {
                "epochs": 5,
                "batch_size": 16,
                "lr": 0.5,
                "nesterov": True,
                "weight_decay": 1e-4,
            },
            "overrides": [
                {"when": {"dataset": "made"}, "set": {"training": {"flops": 1e9}}, "source": "x"}
            ],
        }
    },
    "tables": {
        "cuts": [
            {
                "when": {"network": ["resnet8"], "modules": 2},
                "set": {"partition": ["1.0"]},
                "source": "x",
            }
        ]
    },
    "recipes": {
        "plain": {"method": "backprop", "label": "Plain", "modules": "one"},
        "local": {
            "method": "dgl",
            "label": "Local",
            "options": {"feature_dim": 8, "head": "1c1f"},
            "partition": "memory",
        },
        "info": {
            "method": "infopro",
            "label": "Info",
            "options": {"mode": "softmax", "lambda1": [1, 0.5], "feature_dim": 8},
            "overrides": [
                "cuts",
                {
                    "when": {"modules": [2, 3]},
                    "set": {"options": {"temperature": 0.1}},
                    "source": "x",
                },
            ],
        },
    },
}
DATASETS: dict[str, Any] = {
    "datasets": {
        "made": {
            "source": "fake",
            "shape": [3, 8, 8],
            "classes": 4,
            "pad": 1,
            "mean": [0.5, 0.5, 0.5],
            "std": [1, 1, 1],
            "flip": True,
        },
        "digits": {"source": "digits", "padding": "reflect", "pad": 2, "validation": 100},
        "mine": {"source": "npz", "path": "absent.npz"},
    }
}
FILES: dict[str, dict[str, Any]] = {
    "sweep.yaml": SWEEP,
    "recipes.yaml": RECIPES,
    "datasets.yaml": DATASETS,
}
