"""Features replay (Huo, Gu & Huang, arXiv 1807.04511): modules learn from images of earlier steps,
which they run again with the weights of today.

Module k, counted from 0, of K, keeps what entered it in the last d = K - 1 - k steps. In step t:

    g_k^t = J_w^T e_k^{t-1},   e_{k-1}^t = J_x^T e_k^{t-1},   h_k^t = f_k(h_{k-1}^t; w_k^t)
    J_w, J_x of f_k(x; w) at x = h_{k-1}^{t-d} and w = w_k^t

where e_k is what has come back for the output of module k, from module k + 1 in the step before.
The last module, whose d is 0, learns the task's loss. No module waits for a later one: all could
make the updates of a step at once. Weights have moved since the images went by, so that gradients
are those of backpropagation only where weights stand still, or for K = 1.

Deviations from the paper and its released code:

1. Modules run one after the other in one process; the authors run each on a device of its own.
2. An epoch's last batch may be smaller; the released code fills it up with images of its own.
3. BatchNorm's running statistics count the pass on the present images and not the replay; the
   released code counts both.
4. In the first K - 1 steps a module for which nothing has come back gets gradients of zero, so that
   its weight decay works from the first step; the released code leaves its weights alone.
5. Dropout draws anew in a replay.
6. One learning rate for all modules; the released code doubles that of the first one.
"""

from __future__ import annotations

from modulewise.parts.delayed import Delayed


class FeaturesReplay(Delayed):
    """Modules that replay old inputs.

    Args:
        trunk: the network, cut.
    """
