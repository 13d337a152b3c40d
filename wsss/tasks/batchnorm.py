"""BatchNorm over the whole batch of several processes, on any device."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.plugins.layer_sync import LayerSync, TorchSyncBatchNorm
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss.parallel.processes import add_up, gather_equal, process_count


class _Normalise(torch.autograd.Function):
    """Normalisation by the mean and variance of all processes' inputs (Ioffe & Szegedy, 2015).

    Process r has n_r values a channel, with mean m_r and variance v_r. Over all n of them,
    m = sum n_r m_r / n and v = sum n_r (v_r + (m_r - m)^2) / n. With z = (x - m) / sqrt(v + eps),
    the gradient is dx = w / sqrt(v + eps) (dy - mean(dy) - z mean(z dy)), means over all n.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Normalise inputs (B, C, ...); weight and bias are (C,) or None. Returns y, m, v, n."""
        dims = [d for d in range(inputs.dim()) if d != 1]
        # sums over many pixels in half precision lose most of their digits
        wide = inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs
        variance, mean = torch.var_mean(wide, dim=dims, correction=0)
        own = mean.new_tensor([inputs.numel() / inputs.shape[1]])
        # one exchange for all three: its latency counts more than its few numbers
        counts, means, variances = gather_equal(torch.cat([own, mean, variance])).split(
            [1, len(mean), len(mean)], dim=1
        )
        count = counts.sum()
        # weighted by the number of values: processes may have unequal parts of a batch
        mean = (counts * means).sum(dim=0) / count
        variance = (counts * (variances + (means - mean) ** 2)).sum(dim=0) / count
        outputs = F.batch_norm(inputs, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(inputs, weight, mean, torch.rsqrt(variance + eps), count)
        # the gradient through them is part of the formula above
        ctx.mark_non_differentiable(mean, variance, count)
        return outputs, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        inputs, weight, mean, scale, count = ctx.saved_tensors
        shape = (1, -1, *[1] * (inputs.dim() - 2))
        dims = [d for d in range(inputs.dim()) if d != 1]
        outer = gradients[0].to(mean.dtype)
        normal = (inputs.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        bias_gradient = outer.sum(dim=dims)
        weight_gradient = (outer * normal).sum(dim=dims)
        # the sums that dx needs are over all processes; the gradients of weight and bias returned
        # below are this process's own, as DDP averages them with all others
        means = add_up(torch.stack([bias_gradient, weight_gradient])) / count
        factor = scale if weight is None else scale * weight
        inner = outer - means[0].view(shape) - normal * means[1].view(shape)
        inputs_gradient = (inner * factor.view(shape)).to(inputs.dtype)
        if weight is None:
            return inputs_gradient, None, None, None
        return inputs_gradient, weight_gradient, bias_gradient, None


class _GlobalBatchNorm(_BatchNorm):
    """BatchNorm with the statistics of all processes' inputs in training.

    torch.nn.SyncBatchNorm does the same on GPUs alone. Each process must give at least one value.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, ...) inputs."""
        if not self.training or process_count() == 1:
            return super().forward(inputs)
        outputs, mean, variance, count = _Normalise.apply(inputs, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.num_batches_tracked is not None
                self.num_batches_tracked.add_(1)
                share = self.momentum
                if share is None:
                    share = 1.0 / float(self.num_batches_tracked)
                # torch normalises by the biased variance and keeps the unbiased one
                unbiased = variance * (count / (count - 1).clamp_min(1))
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return outputs


class _GlobalBatchNorm1d(_GlobalBatchNorm, nn.BatchNorm1d):
    """Synchronised BatchNorm over (B, C) and (B, C, L)."""


class _GlobalBatchNorm2d(_GlobalBatchNorm, nn.BatchNorm2d):
    """Synchronised BatchNorm over (B, C, H, W)."""


class _GlobalBatchNorm3d(_GlobalBatchNorm, nn.BatchNorm3d):
    """Synchronised BatchNorm over (B, C, D, H, W)."""


_GLOBAL: Mapping[type[nn.Module], type[_BatchNorm]] = {
    nn.BatchNorm1d: _GlobalBatchNorm1d,
    nn.BatchNorm2d: _GlobalBatchNorm2d,
    nn.BatchNorm3d: _GlobalBatchNorm3d,
}


class SynchronisedBatchNorm(LayerSync):
    """Lightning's plugin for a training over several processes; a single one never calls it.

    On NVIDIA's GPUs the layers become torch.nn.SyncBatchNorm, elsewhere they change their class
    alone. The names in checkpoints stay as they are.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Exchange the BatchNorm layers for synchronised ones.

        Raises:
            ValueError: A layer whose statistics would move is of no kind that is known here.
        """
        norms = [child for child in model.modules() if isinstance(child, _BatchNorm)]
        other = [type(child).__name__ for child in norms if type(child) not in _GLOBAL]
        # frozen statistics do not move, so there is nothing to synchronise
        if other and not getattr(model, "freeze_batchnorm", False):
            raise ValueError(
                f"trainer.sync_batchnorm: {other[0]} cannot be synchronised over processes; give "
                "false, or set freeze_batchnorm"
            )
        if other:
            return model
        if distributed.get_backend() == "nccl":
            return TorchSyncBatchNorm().apply(model)
        for child in norms:
            # weights, buffers and names stay those of the same object, in checkpoints too
            child.__class__ = _GLOBAL[type(child)]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Exchange the layers back."""
        if any(isinstance(child, nn.SyncBatchNorm) for child in model.modules()):
            return TorchSyncBatchNorm().revert(model)
        plain: dict[type[nn.Module], type[nn.Module]] = {new: old for old, new in _GLOBAL.items()}
        for child in model.modules():
            if type(child) in plain:
                child.__class__ = plain[type(child)]
        return model


class AverageStatistics(pl.Callback):
    """Callback without synchronised BatchNorm: averages the statistics after each epoch."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        # once an epoch and before the validation, which reads them
        if not trainer.is_last_batch:
            return
        for child in pl_module.modules():
            if isinstance(child, _BatchNorm) and child.training:
                for value in (child.running_mean, child.running_var):
                    if value is not None:
                        value.copy_(add_up(value) / process_count())
