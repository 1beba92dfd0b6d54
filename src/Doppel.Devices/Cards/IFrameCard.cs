namespace Doppel.Devices.Cards;

/// <summary>A card's registers and rings, as its <see cref="CardCable"/> uses them. Called with the machine's I/O lock held.</summary>
internal interface IFrameCard
{
    /// <summary>True while the guest receives.</summary>
    bool IsReceiving { get; }

    /// <summary>Takes the next frame that the guest wants to send out of guest memory.</summary>
    /// <returns>False when there is none.</returns>
    bool TryTake(CardFrame frame);

    /// <summary>Some frames have been taken, and are as good as sent.</summary>
    void OnTaken();

    /// <summary>Gives a finished frame to the guest, unless its filter drops it.</summary>
    /// <returns>False when there is no room: the card calls <see cref="CardCable.Wake"/> when there is some again.</returns>
    bool TryPut(ReadOnlySpan<byte> frame);

    /// <summary>The link has gone, or come.</summary>
    void OnLinkChanged();
}
