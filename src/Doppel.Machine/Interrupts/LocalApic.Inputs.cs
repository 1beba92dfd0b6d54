using Doppel.Machine.Cpu;

namespace Doppel.Machine.Interrupts;

/// <content>The local vector table: inputs, error interrupt, delivery (Intel SDM vol. 3, 11.5).</content>
public sealed partial class LocalApic
{
    private enum LvtIndex
    {
        Timer,
        Thermal,
        Performance,
        Lint0,
        Lint1,
        Error,
    }

    [Flags]
    private enum ApicError : uint
    {
        SendIllegalVector = 1 << 5,
        ReceiveIllegalVector = 1 << 6,
        IllegalRegister = 1 << 7,
    }

    private static ApicDeliveryMode ModeOf(uint entry) => (ApicDeliveryMode)((entry >> 8) & 7);

    private void SetInput(int pin, bool asserted)
    {
        lock (_lock)
        {
            if (_levels[pin] == asserted)
                return;
            _levels[pin] = asserted;
            if (!IsHardwareEnabled || _keeper is not null)
            {
                // The pins are INTR and NMI then (Intel SDM vol. 3, 11.4.3); who keeps the registers has no other inputs.
                if (pin == 1 && asserted)
                    _target.Signal(PendingEvents.Nmi);
            }
            else if (asserted)
            {
                DeliverInput(pin);
            }

            Update();
        }
    }

    private void DeliverInput(int pin)
    {
        LvtIndex index = LvtIndex.Lint0 + pin;
        uint entry = _lvt[(int)index];
        if ((entry & Masked) != 0)
            return;
        // LINT1 is always edge-triggered, and levels have a meaning for fixed delivery only (11.5.1, trigger mode).
        bool isLevel = pin == 0 && (entry & LevelTriggered) != 0 && ModeOf(entry) == ApicDeliveryMode.Fixed;
        if (!isLevel)
            DeliverLocal(index);
        else if ((entry & RemoteIrr) == 0 && AcceptVector((byte)entry, isLevel: true))
            _lvt[(int)index] = entry | RemoteIrr;
    }

    private void EndLocal(int pin, int vector)
    {
        ref uint entry = ref _lvt[(int)LvtIndex.Lint0 + pin];
        if ((entry & RemoteIrr) == 0 || (byte)entry != vector)
            return;
        entry &= ~RemoteIrr;
        if (_levels[pin])
            DeliverInput(pin);
    }

    private void DeliverLocal(LvtIndex index)
    {
        uint entry = _lvt[(int)index];
        if ((entry & Masked) != 0)
            return;
        // Timer and error entries have no delivery mode: the field reads as 0, which is fixed.
        switch (ModeOf(entry))
        {
            case ApicDeliveryMode.Fixed:
                _ = AcceptVector((byte)entry, isLevel: false);
                break;
            case ApicDeliveryMode.Nmi:
                _target.Signal(PendingEvents.Nmi);
                break;
            case ApicDeliveryMode.Init:
                _target.Signal(PendingEvents.Init);
                break;
        }
    }

    private void RecordError(ApicError error)
    {
        bool isNew = (_newErrors & (uint)error) == 0;
        _newErrors |= (uint)error;
        // An error entry with an illegal vector reports itself once, and must not do so again for its own error.
        if (isNew)
            DeliverLocal(LvtIndex.Error);
    }

    private sealed class InputLine(LocalApic owner, int pin) : IInterruptLine
    {
        public void Set(bool asserted) => owner.SetInput(pin, asserted);
    }
}
