using Doppel.Devices.Display;

namespace Doppel.Devices.Tests.Display;

public sealed class DamageRegionTests
{
    private static readonly PixelRectangle All = new(0, 0, 100, 50);
    private readonly DamageRegion _region = new();

    public DamageRegionTests() => _region.Reset(100, 50);

    [Fact]
    public void What_was_added_is_taken_once_and_ends_at_the_picture()
    {
        _region.Add(new PixelRectangle(90, 45, 1, 1));
        _region.Add(new PixelRectangle(200, 200, 5, 5));
        PixelRectangle part = Assert.Single(_region.Take(All));
        Assert.Equal(new PixelRectangle(64, 40, 32, 8), part);
        Assert.True(_region.IsEmpty);
        Assert.Empty(_region.Take(All));
    }

    [Fact]
    public void Rows_of_tiles_of_the_same_columns_are_one_rectangle()
    {
        _region.AddAll();
        Assert.Equal(All, Assert.Single(_region.Take(All)));
        _region.Add(new PixelRectangle(0, 0, 1, 20));
        _region.Add(new PixelRectangle(96, 0, 1, 1));
        Assert.Equal([new PixelRectangle(0, 0, 32, 24), new PixelRectangle(96, 0, 4, 8)], _region.Take(All));
    }

    [Fact]
    public void What_is_outside_the_part_of_interest_stays()
    {
        _region.AddAll();
        Assert.Equal(new PixelRectangle(0, 0, 10, 10), Assert.Single(_region.Take(new PixelRectangle(0, 0, 10, 10))));
        Assert.False(_region.IsEmpty);
        Assert.Equal(All, Assert.Single(_region.Take(All)));
    }

    [Fact]
    public void Any_parts_are_covered_by_what_is_taken()
    {
        var random = new Random(5);
        for (int round = 0; round < 50; round++)
        {
            var region = new DamageRegion();
            int width = random.Next(1, 3000), height = random.Next(1, 100);
            region.Reset(width, height);
            bool[,] wanted = new bool[width, height];
            for (int i = 0; i < 5; i++)
            {
                var part = new PixelRectangle(random.Next(width), random.Next(height), random.Next(1, 200), random.Next(1, 20));
                region.Add(part);
                for (int x = part.X; x < Math.Min(part.Right, width); x++)
                {
                    for (int y = part.Y; y < Math.Min(part.Bottom, height); y++)
                        wanted[x, y] = true;
                }
            }

            foreach (PixelRectangle part in region.Take(new PixelRectangle(0, 0, width, height)))
            {
                for (int x = part.X; x < part.Right; x++)
                {
                    for (int y = part.Y; y < part.Bottom; y++)
                        wanted[x, y] = false;
                }
            }

            Assert.DoesNotContain(true, wanted.Cast<bool>());
        }
    }
}
