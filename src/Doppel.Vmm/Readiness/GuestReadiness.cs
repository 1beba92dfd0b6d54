namespace Doppel.Vmm.Readiness;

/// <summary>How far a guest has come since its machine was started or reset, as far as can be seen from outside, without asking it.</summary>
public sealed record GuestReadiness
{
    /// <summary>When somebody could log in: when a prompt stood on the first serial port. Null before that, and for a guest that doesn't use the port.</summary>
    public DateTimeOffset? Booted { get; init; }

    /// <summary>When the guest first had an address that is no link-local one: a DHCP server gave it, or the guest used it. Null before that, and without a network card.</summary>
    public DateTimeOffset? NetworkUp { get; init; }

    /// <summary>That address.</summary>
    public string? Address { get; init; }

    /// <summary>When the set-up of the first boot was done: cloud-init had said so on the first serial port, or, where no cloud-init was at work, when <see cref="Booted"/>. Null before that.</summary>
    public DateTimeOffset? SetUp { get; init; }

    /// <summary>True while cloud-init is known or expected to be at work.</summary>
    public bool IsSettingUp { get; init; }

    /// <summary>Counts the changes since the machine was started; tells one that is known from a later one.</summary>
    public long Sequence { get; init; }
}
