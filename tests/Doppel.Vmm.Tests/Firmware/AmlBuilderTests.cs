using Doppel.Vmm.Firmware;

namespace Doppel.Vmm.Tests.Firmware;

public sealed class AmlBuilderTests
{
    [Theory]
    [InlineData(0ul, "00")]
    [InlineData(1ul, "01")]
    [InlineData(2ul, "0A02")]
    [InlineData(0x100ul, "0B0001")]
    [InlineData(0x10000ul, "0C00000100")]
    [InlineData(0x1_0000_0000ul, "0E0000000001000000")]
    public void Integers_take_their_shortest_form(ulong value, string expected) =>
        Assert.Equal(expected, Convert.ToHexString(AmlBuilder.Integer(value)));

    [Theory]
    [InlineData(@"\_SB", "5C5F53425F")]
    [InlineData("COM1", "434F4D31")]
    [InlineData(@"\_SB.PCI0", "5C2E5F53425F50434930")]
    [InlineData("A.B.C", "2F03415F5F5F425F5F5F435F5F5F")]
    [InlineData(@"\", "5C00")]
    public void Names_are_padded_and_counted(string path, string expected) =>
        Assert.Equal(expected, Convert.ToHexString(AmlBuilder.NamePath(path)));

    [Theory]
    [InlineData("TOOLONG")]
    [InlineData("1ABC")]
    [InlineData("abc")]
    public void Bad_names_are_refused(string path) => Assert.Throws<ArgumentException>(() => AmlBuilder.NamePath(path));

    [Fact]
    public void Eisa_ids_are_compressed()
    {
        Assert.Equal("0C41D00A03", Convert.ToHexString(AmlBuilder.EisaId("PNP0A03")));
        Assert.Equal("0C41D00501", Convert.ToHexString(AmlBuilder.EisaId("PNP0501")));
        Assert.Throws<ArgumentException>(() => AmlBuilder.EisaId("pnp0501"));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(59)]
    [InlineData(60)]
    [InlineData(61)]
    [InlineData(62)]
    [InlineData(63)]
    [InlineData(4085)]
    [InlineData(4086)]
    [InlineData(4087)]
    [InlineData(4088)]
    [InlineData(4089)]
    [InlineData(4090)]
    [InlineData(4091)]
    [InlineData(4092)]
    [InlineData(4093)]
    [InlineData(70000)]
    [InlineData(1100000)]
    public void Lengths_count_themselves_at_every_size(int size)
    {
        byte[] content = new byte[size];
        Array.Fill(content, (byte)0x5A);
        byte[] code = new AmlBuilder().Scope(@"\_SB", s => s.Device("DEV", d => d.Name("BUF", AmlBuilder.Buffer(content)))).ToArray();
        AmlReader read = AmlReader.Read(code);
        Assert.Equal(content, read.Objects[@"\_SB_.DEV_.BUF_"]);
    }

    [Fact]
    public void A_package_holds_255_elements()
    {
        byte[][] elements = [.. Enumerable.Range(0, 255).Select(i => AmlBuilder.Integer((ulong)i))];
        AmlReader read = AmlReader.Read(new AmlBuilder().Name("PKG", AmlBuilder.Package(elements)).ToArray());
        Assert.Equal(255, Assert.IsType<List<object>>(read.Objects[@"\PKG_"]).Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => AmlBuilder.Package([.. elements, elements[0]]));
    }
}
